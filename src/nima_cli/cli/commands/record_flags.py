"""The flags of `nima data prepare` that are about records: `--field` and `--format`; reads no file."""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from nima_cli.config.synonyms import nearest
from nima_cli.errors import DataError, InputError

FORMATS = ("qa", "chat", "doc", "auto")
# What else people call them.
_FORMAT_OF = {
    **dict.fromkeys(("alpaca", "dolly", "instruction", "instruct", "faq", "sft"), "qa"),
    **dict.fromkeys(("sharegpt", "openai", "chatml", "messages", "conversations", "conversation"), "chat"),
    **dict.fromkeys(("text", "plain", "markdown", "pretrain"), "doc"),
}
_MAPPING = re.compile(r"`data\.fields: (\{[^`]*\})`")

FieldFlags = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        help="The name that a key of records has in the files: `question=Question`, or `answer=data.reply` for `reply` "
        "in `data`; may be repeated.",
        metavar="KEY=NAME",
        show_default=False,
    ),
]


def fields(assignments: Sequence[str]) -> dict[str, str] | None:
    """The mapping that `--field` flags make.

    Raises:
        InputError: one is no `KEY=NAME`, or a key is given twice.
    """
    found: dict[str, str] = {}
    for assignment in assignments:
        key, equals, name = assignment.partition("=")
        if not (key and equals and name):
            raise InputError(
                f"--field {assignment}: expected `KEY=NAME`", hint="for example `--field question=Question`"
            )
        if key in found:
            raise InputError(f"--field {assignment}: `{key}` is given twice")
        found[key] = name
    return found or None


def check_format(record_format: str, files: Sequence[str]) -> None:
    """Refuse a `--format` that is none, or that applies to no file.

    Args:
        files: of `--json-files` and `--jsonl-files`.

    Raises:
        InputError: says what would do instead.
    """
    if record_format not in FORMATS:
        word = record_format.lower()
        near = _FORMAT_OF.get(word) or nearest(word, FORMATS)
        hint = f"did you mean `--format {near}`?" if near else "leave it out: `auto` goes by the keys of the records"
        known = ", ".join(f"`{name}`" for name in FORMATS)
        raise InputError(f"--format {record_format}: expected one of {known}", hint=hint)
    if record_format != "auto" and not files:
        raise InputError(
            f"--format {record_format}: applies to no file; it is for `--json-files` and `--jsonl-files`",
            hint=f"a source may have a format of its own: `--source PATH,format={record_format}`",
        )


@contextmanager
def naming_field_flags() -> Iterator[None]:
    """Say in hints that speak of the setting `data.fields` which flags would make it."""
    try:
        yield
    except DataError as error:
        if error.hint:
            error.hint = _MAPPING.sub(_with_flags, error.hint)
        raise


def _with_flags(match: re.Match[str]) -> str:
    from nima_cli.config.strict_yaml import parse_value

    flags = " ".join(f"--field {shlex.quote(f'{key}={name}')}" for key, name in parse_value(match[1]).items())
    return f"`{flags}` (in a config: {match[0]})"
