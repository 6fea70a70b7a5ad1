"""`nima chat`: a conversation with a checkpoint."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nima_cli.cli.compiled import compile_decoder_meanwhile
from nima_cli.cli.inference import chosen_checkpoint, load_model, require_text, sampling, say_unreachable_top_k
from nima_cli.cli.options import (
    CheckpointArgument,
    CheckpointPath,
    Debug,
    Device,
    Dtype,
    MaxNewTokens,
    MinP,
    Quiet,
    RepetitionPenalty,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    examples,
)
from nima_cli.errors import InputError

if TYPE_CHECKING:
    from nima_cli.cli.commands.chat_session import ChatSession
    from nima_cli.cli.inference import LoadedModel
    from nima_cli.engine.inference.conversation import Conversation

EXAMPLES = examples(
    "nima chat",
    "nima chat --checkpoint experiments/technical",
    'nima chat best.pt --system "You answer briefly."',
    'nima chat best.pt --once "What is a pod?"',
    note="best.pt is a checkpoint file; without any it is the newest run's.",
)


def chat(
    path: CheckpointArgument = None,
    checkpoint: CheckpointPath = None,
    system: Annotated[
        str, typer.Option("--system", help="A text that stays in front of every turn.", metavar="TEXT")
    ] = "",
    once: Annotated[
        str | None, typer.Option("--once", help="Answer this one message and exit.", metavar="TEXT", show_default=False)
    ] = None,
    max_new_tokens: MaxNewTokens = 256,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: Seed = 0,
    stop: Stop = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="On a terminal, format answers as Markdown, paragraph by paragraph.")
    ] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    debug: Debug = False,
    quiet: Quiet = False,
) -> None:
    """Talk to a checkpoint.

    Without a terminal each line of stdin is a turn.
    """
    if max_new_tokens < 1:
        raise InputError("`--max-new-tokens` must be at least 1")
    if once is not None and not once.strip():
        raise InputError("`--once` is empty", hint="give a message")
    require_text("--once", once or "")
    require_text("--system", system)
    where = chosen_checkpoint(path, checkpoint, quiet=quiet)
    compile_decoder_meanwhile(device)
    from nima_cli.cli.commands.chat_session import ChatSession
    from nima_cli.engine.inference.sampling import check_seed

    drawn = sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
    )
    check_seed(seed)
    loaded = load_model(where, device=device, dtype=dtype, quiet=quiet)
    conversation = _conversation(loaded, system)
    session = ChatSession(conversation, drawn, max_new_tokens=max_new_tokens, seed=seed, stop=tuple(stop or ()))
    if not quiet:
        _say_what_to_expect(loaded, in_turns=conversation.in_turns)
        say_unreachable_top_k(drawn.top_k, loaded.tokenizer.vocab_size)
    from nima_cli.ui.answer_view import show_answer
    from nima_cli.ui.chat_view import chat_loop

    if once is not None:
        show_answer(session.answer(once), markdown=markdown)
        return
    conversation.prefill()
    chat_loop(
        session.answer,
        _commands(session),
        arguments=_arguments(),
        history_file=_history_file(),
        markdown=markdown,
        welcome=not quiet,
    )


def _conversation(loaded: "LoadedModel", system: str) -> "Conversation":
    """An empty conversation; in turns, unless the model has never seen any."""
    from nima_cli.engine.inference.conversation import Conversation

    # A header without the number is of a file that somebody else wrote: it gets the benefit of the doubt.
    in_turns = loaded.checkpoint.header.get("conversations") != 0
    return Conversation(loaded.generator(), system=system, in_turns=in_turns)


def _say_what_to_expect(loaded: "LoadedModel", *, in_turns: bool) -> None:
    from nima_cli.ui.console import say

    shape = loaded.checkpoint.shape
    if not in_turns:
        say("this model has seen no questions and answers: it goes on with what you write", "warning")
        say("to change that, prepare Q&A or chats with `nima data prepare --json-files` and train again", "hint")
    elif sys.stdin is not None and sys.stdin.isatty():
        say(f"{loaded.path}: {shape.parameters():,} parameters, {shape.context_length} tokens of context")


def _commands(session: "ChatSession") -> Mapping[str, Callable[[str], str | Iterator[str] | None]]:
    return {
        "/reset": session.reset,
        "/retry": session.retry,
        "/undo": session.undo,
        "/system": session.set_system,
        "/set": session.set_option,
        "/stats": session.stats,
        "/save": session.save,
        "/save!": session.replace,
        "/load": session.load,
    }


def _arguments() -> Mapping[str, tuple[str, ...] | None]:
    """What a command's argument may begin with; None stands for the name of a file."""
    from nima_cli.cli.commands.chat_session import OPTIONS

    return {"/set": tuple(f"{name}=" for name in OPTIONS), "/save": None, "/save!": None, "/load": None}


def _history_file() -> Path:
    from nima_cli.config.environ import home

    return home() / "chat_history"
