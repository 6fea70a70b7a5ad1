"""The command that prepares a dataset again for another tokenizer."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Options of the tokenizer, and those whose flags take no single value.
_LEFT_OUT = {"tokenizer", "vocab_size", "tokenizer_from", "exclude", "fields", "include_code"}
_FILES = {".json": "--json-files", ".jsonl": "--jsonl-files"}


def prepare_again(folder: Path, metadata: Mapping[str, Any], model: str) -> str:
    """A command line that makes the dataset in `folder` again beside it, with the tokenizer of `model`."""
    from nima_cli.ui.console import command

    short = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in Path(model).name).strip("-.")
    made = folder.with_name(f"{folder.name}-{short or 'again'}")
    words = ["nima", "data", "prepare", "--output-dir", str(made), "--tokenizer-from", model]
    for source in metadata["sources"]:
        words += _source(source)
    return command(*words, *_options(metadata["options"]))


def _source(source: Mapping[str, Any]) -> list[str]:
    """The flags of one source, as far as the metadata tells them."""
    path, form, weight = str(source["path"]), str(source["format"]), float(source["weight"])
    extra = f",format={form}" if form not in ("auto", "text", "markdown") else ""
    extra += f",weight={weight:g}" if weight != 1.0 else ""
    if extra or path.startswith("builtin:"):
        return ["--source", path + extra]
    if not Path(path).exists():  # what a shell made out of a pattern is told as `a.md and 3 more`
        return ["--text-files", "..."]
    return [_FILES.get(Path(path).suffix, "--text-files"), path]


def _options(options: Mapping[str, Any]) -> Iterator[str]:
    """The flags of the options that are not the default."""
    from nima_cli.config.data_schema import DataConfig

    for key, value in options.items():
        field = DataConfig.model_fields.get(key)
        if field is None or key in _LEFT_OUT or value is None or value == field.default:
            continue
        yield "--dedup" if key == "dedupe" else f"--{key.replace('_', '-')}"
        yield str(value).lower() if isinstance(value, bool) else str(value)
    if options.get("include_code"):
        yield "--include-code"
    for pattern in options.get("exclude") or ():
        yield from ("--exclude", pattern)
