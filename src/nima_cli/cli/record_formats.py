"""What `--format` of `nima data prepare` may be; depends on nothing but the errors."""

from collections.abc import Sequence

from nima_cli.errors import InputError

_FORMATS = ("auto", "qa", "chat", "doc")
_KINDS = {"json": "--json-files", "jsonl": "--jsonl-files", "text": "--text-files", "markdown": "--text-files"}


def check_format(record_format: str, files: Sequence[str]) -> None:
    """Refuse a `--format` that is none, or that nothing would heed.

    Raises:
        InputError: it is one of these.
    """
    if record_format not in _FORMATS:
        option = _KINDS.get(record_format)
        hint = f"it is {', '.join(_FORMATS)}" + (f"; kinds of files have options, as {option}" if option else "")
        raise InputError(f"--format {record_format}: no such shape of records", hint=hint)
    if record_format != "auto" and not files:
        hint = "for a source write `--source PATH,format=...`"
        raise InputError(
            f"--format {record_format}: it is for --json-files and --jsonl-files, and there are none", hint=hint
        )
