"""Exports a checkpoint and its model card, verified by reading them back."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from nima_cli.engine.export import gguf_file, hf, places, safetensors_file, verify
from nima_cli.engine.export.model_card import model_card
from nima_cli.engine.export.source import DTYPES, Source, read_source
from nima_cli.errors import InputError
from nima_cli.events import Event, Exported, Progress
from nima_cli.files import atomic_write, make_folder, write_text


@dataclass(frozen=True, slots=True)
class _FileFormat:
    """A format of one file; `check` raises for a tokenizer that it cannot hold."""

    check: Callable[[Source, str], None]
    write: Callable[[Path, Source], None]
    read_back: Callable[[Path, Source, str], dict[str, torch.Tensor]]
    verified: str


_FILES = {
    "gguf": _FileFormat(
        gguf_file.check_tokenizer,
        gguf_file.write,
        gguf_file.read_back,
        "read back by gguf: {tensors} tensors, {logits} in nima's model, {tokens:,} equal tokens, scores and types",
    ),
    "safetensors": _FileFormat(
        lambda source, where: None,
        safetensors_file.write,
        safetensors_file.read_back,
        "read back by safetensors: {tensors} equal tensors, {logits} in nima's model",
    ),
}
FORMATS = ("hf", *_FILES)
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

    The files get their names after they have been read back and compared, so a failure leaves what was there before.

    Args:
        checkpoint: a file, or a run directory (then its best).
        output: a folder for `hf`, else a file. An earlier export there is replaced.
        format: hf, gguf or safetensors.
        dtype: float32, bfloat16 or float16.
        licence: an identifier for the model card, such as `mit`.

    Raises:
        InputError: an argument has no such value, or `output` holds something else.
        CheckpointError: the checkpoint is unusable, the format cannot hold it, or reading back shows a difference.
        ResourceError: a package is missing, or the system refused to write.
    """
    _check(output, format, dtype, licence)
    yield Progress("loading", 0, 0, "")
    source = read_source(
        checkpoint, name=output.stem if format != "hf" else output.name, dtype=dtype, licence=licence,
        matrices_only=format == "gguf",
    )  # fmt: skip
    yield Progress("writing and reading back", 0, 0, "")
    yield _exported(source, output, format)


def _check(output: Path, kind: str, dtype: str, licence: str) -> None:
    """Raise the errors that can be found before a checkpoint is read."""
    if kind not in FORMATS:
        raise InputError(f"`format={kind}`: no such format", hint=f"use {', '.join(FORMATS)}")
    if dtype not in DTYPES:
        raise InputError(f"`dtype={dtype}`: no such type", hint=f"use {', '.join(DTYPES)}")
    if not _SAFE_LICENCE.fullmatch(licence):
        raise InputError(f"`license={licence}`: not an identifier", hint="for example mit, apache-2.0 or cc-by-4.0")
    if not output.name:
        raise InputError(f"{output}: not a name for an export", hint="for example `output=exports/mine`")
    if kind == "hf":
        places.check_folder(output, hf.NAMES)
    else:
        places.check_file(output)
        places.check_file(_card_path(output))


def _card_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.md")  # not README.md, which may be somebody else's


def _exported(source: Source, output: Path, kind: str) -> Exported:
    unverified: list[str] = []
    if kind == "hf":
        verified, unverified = hf.export(source, output, model_card(source, kind, output.name))
        files = [output / name for name in hf.NAMES]
    else:
        verified = [_export_file(source, output, _FILES[kind])]
        if kind == "gguf":
            unverified = [f"text from llama.cpp itself: nima does not contain it (llama-cli -m {output.name} -p Hello)"]
        files = [output, _card_path(output)]
        write_text(_card_path(output), model_card(source, kind, output.name, verified))
    size = sum(file.stat().st_size for file in files)
    return Exported(output, tuple(files), size, source.shape.parameters(), tuple(verified), tuple(unverified))


def _export_file(source: Source, path: Path, kind: _FileFormat) -> str:
    """Write one file atomically and say what reading it back showed."""
    verified = ""

    def read_back(part: Path) -> None:
        nonlocal verified
        found = kind.read_back(part, source, str(path))
        logits = verify.compare_logits(verify.own_logits(source.shape, found, rows), expected, str(path))
        verified = kind.verified.format(tensors=len(found), logits=logits, tokens=source.tokenizer.vocab_size)

    kind.check(source, str(path))
    rows = verify.sample_rows(source.tokenizer, source.shape.context_length)
    expected = verify.own_logits(source.shape, source.tensors, rows)
    make_folder(path.parent)
    with atomic_write(path, verify=read_back) as stream:
        kind.write(Path(stream.name), source)
    return verified
