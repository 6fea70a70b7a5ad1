"""`nima chat`: a conversation with a checkpoint."""

import sys

import typer

from nima_cli.cli import options
from nima_cli.cli.inference import load_to_write, require_text
from nima_cli.cli.options import option, switch
from nima_cli.errors import InputError

EXAMPLES = options.examples(
    "nima chat",
    "nima chat --checkpoint experiments/technical",
    'nima chat best.pt --system "You answer briefly."',
    'nima chat best.pt --once "What is a pod?"',
    note="best.pt is a checkpoint file; without any it is the newest run's.",
)


def chat(
    context: typer.Context,
    path: options.CheckpointArgument = None,
    checkpoint: options.CheckpointPath = None,
    system: str = option("", "TEXT", "A text that stays in front of every turn."),
    once: str | None = option(None, "TEXT", "Answer this one message and exit."),
    max_new_tokens: options.MaxNewTokens = 256,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    seed: options.Seed = 0,
    stop: options.Stop = None,
    markdown: bool = switch("--markdown", "On a terminal, format answers as Markdown, paragraph by paragraph."),
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Talk to a checkpoint.

    Without a terminal each line of stdin is a turn.
    """
    if once is not None and not once.strip():
        raise InputError("`--once` is empty", hint="give a message")
    require_text("--once", once or "")
    require_text("--system", system)
    loaded, sampling = load_to_write(context.params, range(seed, seed + 1))
    from nima_cli.cli.commands.chat_session import ARGUMENTS, ChatSession
    from nima_cli.config.environ import home
    from nima_cli.engine.inference.conversation import Conversation
    from nima_cli.ui.answer_view import show_answer
    from nima_cli.ui.chat_view import chat_loop
    from nima_cli.ui.console import say

    # A header without the number is of a file that somebody else wrote: it gets the benefit of the doubt.
    learnt = loaded.checkpoint.header.get("conversations", loaded.tokenizer.lossless)
    in_turns = loaded.tokenizer.has_chat_template or bool(learnt)
    conversation = Conversation(loaded.generator(), system=system, in_turns=in_turns)
    session = ChatSession(conversation, sampling, max_new_tokens, seed, tuple(stop or ()))
    if not in_turns and not quiet:
        say("this model has seen no questions and answers: it goes on with what you write", "warning")
        say("to change that, prepare Q&A or chats with `nima data prepare --json-files` and train again", "hint")
    elif sys.stdin is not None and sys.stdin.isatty() and not quiet:
        shape = loaded.checkpoint.shape
        say(f"{loaded.path}: {shape.parameters():,} parameters, {shape.context_length} tokens of context")
    if once is not None:
        show_answer(session.answer(once), markdown=markdown)
        return
    conversation.prefill()
    chat_loop(
        session.answer,
        session.commands(),
        arguments=ARGUMENTS,
        history_file=home() / "chat_history",
        markdown=markdown,
        welcome=not quiet,
    )
