"""Exports a checkpoint: picks the format, writes the card beside it, and says what happened as events."""

import re
from collections.abc import Iterator
from pathlib import Path

from nima_cli.engine.export import gguf_file, hf, places, safetensors_file
from nima_cli.engine.export.model_card import model_card
from nima_cli.engine.export.source import DTYPES, Source, read_source
from nima_cli.errors import InputError
from nima_cli.events import Event, Exported, Progress
from nima_cli.files import write_text

FORMATS = ("hf", "gguf", "safetensors")
UNKNOWN_LICENCE = "unknown"
_SAFE_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")


def export_checkpoint(
    checkpoint: Path,
    output: Path,
    *,
    format: str,  # noqa: A002
    dtype: str = "float32",
    licence: str = UNKNOWN_LICENCE,
) -> Iterator[Event]:
    """Write a checkpoint in another program's format; the last event is `Exported`.

    Everything is checked by reading it back before it gets its name, so that a failure leaves what was there before.

    Args:
        checkpoint: a file, or a run directory (then its best).
        output: a folder for `hf`, else a file. An earlier export there is replaced.
        format: hf, gguf or safetensors.
        dtype: float32, bfloat16 or float16.
        licence: an identifier for the model card, such as `mit`.

    Raises:
        InputError: an argument has no such value, or `output` holds something else.
        CheckpointError: the checkpoint is unusable, the format cannot say it, or reading back shows a difference.
        ResourceError: a package is missing, or the disk refused.
    """
    _check(output, format, dtype, licence)
    yield Progress("loading", 0, 0, "")
    source = read_source(
        checkpoint, name=output.stem if format != "hf" else output.name, dtype=dtype, licence=licence,
        matrices_only=format == "gguf",
    )  # fmt: skip
    yield Progress("writing and reading back", 0, 0, "")
    yield _exported(source, output, format)


def _check(output: Path, format: str, dtype: str, licence: str) -> None:  # noqa: A002
    """Refuse what can be refused before a checkpoint is read.

    Raises:
        InputError: an argument has no such value, or `output` holds something else.
    """
    if format not in FORMATS:
        raise InputError(f"`--format {format}`: no such format", hint=f"use {', '.join(FORMATS)}")
    if dtype not in DTYPES:
        raise InputError(f"`--dtype {dtype}`: no such type", hint=f"use {', '.join(DTYPES)}")
    if not _SAFE_LICENCE.fullmatch(licence):
        raise InputError(f"`--license {licence}`: not an identifier", hint="for example mit, apache-2.0 or cc-by-4.0")
    if not output.name:
        raise InputError(f"{output}: not a name for an export", hint="for example --output exports/mine")
    if format == "hf":
        places.check_folder(output, hf.NAMES)
    else:
        places.check_file(output)
        places.check_file(_card_path(output))


def _card_path(output: Path) -> Path:
    """Beside one file; named after it, so that no README of somebody else is in the way."""
    return output.with_name(f"{output.name}.md")


def _exported(source: Source, output: Path, format: str) -> Exported:  # noqa: A002
    unverified: list[str] = []
    if format == "hf":
        verified, unverified = hf.export(source, output, model_card(source, format, output.name))
        files = [output / name for name in hf.NAMES]
    else:
        verified = (gguf_file if format == "gguf" else safetensors_file).export(source, output)
        if format == "gguf":
            unverified = [f"text from llama.cpp itself: nima does not contain it (llama-cli -m {output.name} -p Hello)"]
        files = [output, _card_path(output)]
        write_text(_card_path(output), model_card(source, format, output.name, verified))
    size = sum(file.stat().st_size for file in files)
    return Exported(output, tuple(files), size, source.shape.parameters(), tuple(verified), tuple(unverified))
