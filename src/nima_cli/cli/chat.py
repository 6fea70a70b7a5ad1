"""`nima chat`: a conversation with a checkpoint."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nima_cli.cli.options import (
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
    from nima_cli.cli.chat_session import ChatSession

EXAMPLES = examples(
    "nima chat --checkpoint best.pt",
    'nima chat --checkpoint best.pt --system "You answer briefly."',
    'nima chat --checkpoint best.pt --once "What is a pod?"',
)


def chat(
    checkpoint: CheckpointPath,
    system: Annotated[str, typer.Option("--system", help="A text that stays in front of every turn.")] = "",
    once: Annotated[
        str | None, typer.Option("--once", help="Answer this one message and exit.", show_default=False)
    ] = None,
    max_new_tokens: MaxNewTokens = 256,
    temperature: Temperature = 0.7,
    top_k: TopK = 50,
    top_p: TopP = 0.95,
    min_p: MinP = 0.0,
    repetition_penalty: RepetitionPenalty = 1.1,
    seed: Seed = 0,
    stop: Stop = None,
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
    from nima_cli.cli.chat_session import ChatSession
    from nima_cli.engine.inference.conversation import Conversation
    from nima_cli.engine.inference.sampling import Sampling
    from nima_cli.engine.inference.text import TextGenerator
    from nima_cli.ui.console import say

    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    from nima_cli.cli.inference import load_model

    loaded = load_model(checkpoint, device=device, dtype=dtype)
    conversation = Conversation(TextGenerator(loaded.model, loaded.tokenizer), system=system)
    session = ChatSession(conversation, sampling, max_new_tokens=max_new_tokens, seed=seed, stop=tuple(stop or ()))
    if not quiet and loaded.checkpoint.header.get("conversations") == 0:
        say(
            "this model has seen no questions and answers: it continues text rather than answering; "
            "prepare data with --json-files of Q&A or chats to change that",
            "warning",
        )
    if once is not None:
        _answer_once(session, once)
        return
    from nima_cli.ui.chat_view import chat_loop

    chat_loop(session.answer, _commands(session), history_file=_history_file())


def _answer_once(session: "ChatSession", message: str) -> None:
    from nima_cli.ui.console import safe_text

    for piece in session.answer(message):
        sys.stdout.write(safe_text(piece))
        sys.stdout.flush()
    sys.stdout.write("\n")


def _commands(session: "ChatSession") -> Mapping[str, Callable[[str], str | Iterator[str] | None]]:
    return {
        "/reset": session.reset,
        "/retry": session.retry,
        "/undo": session.undo,
        "/system": session.set_system,
        "/set": session.set_option,
        "/stats": session.stats,
        "/save": session.save,
        "/load": session.load,
    }


def _history_file() -> Path:
    from nima_cli.config.environ import home

    return home() / "chat_history"
