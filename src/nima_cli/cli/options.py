"""Declares the options of commands; imports no pydantic, which would slow `--help`."""

import re
import textwrap
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from nima_cli.cli.references import WAYS, complete_model, model_text
from nima_cli.config.synonyms import nearest
from nima_cli.errors import InputError

_WIDTH = 76  # of a line of examples, which stand two columns in


def path_of(text: str) -> Path:
    """A path of the command line; an empty one, from an unset variable of a shell, would mean this folder."""
    if not text:
        raise typer.BadParameter("the path is empty")
    return Path(text)


def option(default: Any, metavar: str, meaning: str, *flags: str, **more: Any) -> Any:
    """An option with a value, named after its parameter unless `flags` name it."""
    return typer.Option(default, *flags, metavar=metavar, help=meaning, **more)


path_option = partial(option, parser=path_of)  # the default `...` makes it required


def model_option(meaning: str, *flags: str) -> Any:
    """An option that names a model; `nima_cli.cli.references` finds it."""
    return option(None, "MODEL", meaning, *flags, parser=model_text, autocompletion=complete_model)


def switch(flag: str, meaning: str) -> Any:
    return typer.Option(False, flag, help=meaning)


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more: where each setting comes from.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
# Hidden, because Typer would show its type; the help of the option explains it.
ModelArgument = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", parser=model_text, autocompletion=complete_model, hidden=True),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        help=f"{WAYS[0].upper()}{WAYS[1:]}; the flag itself may be left out. By default the newest run.",
        metavar="MODEL",
        parser=model_text,
        autocompletion=complete_model,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", metavar="NAME")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or int8.", metavar="TYPE")]
MaxNewTokens = Annotated[int, typer.Option(help="Tokens to write at most.", metavar="N", min=1)]
# The help of these is a key of the configuration: `flag_names.Command` puts its description in the place.
Temperature = Annotated[float | None, typer.Option(help="evaluation.generation.temperature", metavar="X")]
TopK = Annotated[int | None, typer.Option(help="evaluation.generation.top_k", metavar="N")]
TopP = Annotated[float | None, typer.Option(help="evaluation.generation.top_p", metavar="X")]
MinP = Annotated[float | None, typer.Option(help="evaluation.generation.min_p", metavar="X")]
RepetitionPenalty = Annotated[float | None, typer.Option(help="evaluation.generation.repetition_penalty", metavar="X")]
Seed = Annotated[int, typer.Option(help="Same seed, same text.", metavar="N")]
Stop = Annotated[
    list[str] | None, typer.Option(help="End the text before this string; may be repeated.", metavar="TEXT")
]


def require_choice(flag: str, value: str, choices: Collection[str], hint: str | None = None) -> None:
    """Refuse a value that is none of `choices`; `hint` is for one that is near no choice."""
    if value not in choices:
        if near := nearest(value, choices):
            hint = f"did you mean `{flag} {near}`?"
        known = ", ".join(f"`{choice}`" for choice in choices)
        raise InputError(f"{flag} {value}: expected one of {known}", hint=hint)


def examples(*lines: str, note: str = "") -> str:
    """The end of a help text: examples, folded for 80 columns as a shell reads them; `note` says what they name."""
    shown = "\b\nExamples:"  # \b keeps the lines as they are
    for line in lines:
        glued = re.sub(" (?!-)", "\0", line)  # so that an option and its values stay in one line
        rows = textwrap.wrap(glued, _WIDTH - 2, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        shown += "\n  " + " \\\n  ".join(rows).replace("\0", " ")
    return f"{shown}\n\n{note}" if note else shown
