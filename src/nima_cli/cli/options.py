"""Options that several commands share, so that they are spelled and explained once."""

from pathlib import Path
from typing import Annotated

import typer

from nima_cli.config.data_help import SAMPLING_HELP

_WIDTH = 76  # of a line of examples, which stand two columns in


def path_of(text: str) -> Path:
    """A path of the command line; the empty one, an unset variable of a shell, would silently mean this folder."""
    if not text:
        raise typer.BadParameter("the path is empty")
    return Path(text)


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more: where each setting comes from.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
CheckpointArgument = Annotated[
    Path | None,  # hidden, because Typer would show its type; the option's help explains it
    typer.Argument(metavar="CHECKPOINT", parser=path_of, hidden=True),
]
CheckpointPath = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="A checkpoint file, or a run directory (then its best); the flag itself may be left out. By default the "
        "newest run.",
        metavar="PATH",
        parser=path_of,
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.", metavar="NAME")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or int8.", metavar="TYPE")]
MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", help="Tokens to write at most.", metavar="N")]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", help=SAMPLING_HELP["temperature"], metavar="X", show_default=False),
]
TopK = Annotated[int | None, typer.Option("--top-k", help=SAMPLING_HELP["top_k"], metavar="N", show_default=False)]
TopP = Annotated[float | None, typer.Option("--top-p", help=SAMPLING_HELP["top_p"], metavar="X", show_default=False)]
MinP = Annotated[float | None, typer.Option("--min-p", help=SAMPLING_HELP["min_p"], metavar="X", show_default=False)]
RepetitionPenalty = Annotated[
    float | None,
    typer.Option("--repetition-penalty", help=SAMPLING_HELP["repetition_penalty"], metavar="X", show_default=False),
]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same text.", metavar="N")]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        "--stop", help="End the text before this string; may be repeated.", metavar="TEXT", show_default=False
    ),
]


def examples(*lines: str, note: str = "") -> str:
    """The end of a command's help: examples to copy; `\\b` keeps their lines as they are.

    What is too long for a terminal of 80 columns goes on in the next line, as a shell reads it.

    Args:
        note: what the files are that the examples name.
    """
    shown = "\b\nExamples:\n" + "\n".join(f"  {row}" for line in lines for row in _folded(line))
    return f"{shown}\n\n{note}" if note else shown


def _folded(line: str) -> list[str]:
    rows, rest = list[str](), line
    while len(rest) > _WIDTH:
        at = rest.rindex(" -", 0, _WIDTH - 1) if " -" in rest[1 : _WIDTH - 1] else rest.rindex(" ", 0, _WIDTH - 1)
        rows.append(f"{rest[:at]} \\")
        rest = f"  {rest[at + 1 :]}"
    return [*rows, rest]
