"""Options that several commands share, so that they are spelled and explained once."""

from pathlib import Path
from typing import Annotated

import typer

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more: where each setting comes from.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
CheckpointPath = Annotated[
    Path,
    typer.Option("--checkpoint", help="A checkpoint file, or a run directory (then its best).", show_default=False),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.", metavar="NAME")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or int8.", metavar="TYPE")]
MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", help="Tokens to write at most.")]
Temperature = Annotated[float, typer.Option("--temperature", help="Randomness; 0 always takes the most likely token.")]
TopK = Annotated[int, typer.Option("--top-k", help="Choose among this many most likely tokens; 0 for all.")]
TopP = Annotated[float, typer.Option("--top-p", help="Choose among the most likely tokens of this total probability.")]
MinP = Annotated[float, typer.Option("--min-p", help="Drop tokens below this share of the most likely one.")]
RepetitionPenalty = Annotated[
    float, typer.Option("--repetition-penalty", help="Above 1: repeat less what was already said.")
]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same text.")]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", help="End the text before this string; may be repeated.", show_default=False),
]


def examples(*lines: str) -> str:
    """The end of a command's help: examples to copy; `\\b` keeps their lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
