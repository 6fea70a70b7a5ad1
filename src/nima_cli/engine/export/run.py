"""Exports a checkpoint and its model card, verified by reading them back."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from nima_cli.engine.export import hf, peft_folder, places, safetensors_file
from nima_cli.engine.export.gguf import gguf_file
from nima_cli.engine.export.gguf.tensor_types import QUANTIZED, rounded, tensor_types
from nima_cli.engine.export.model_card import model_card
from nima_cli.engine.export.source import DTYPES, Rounding, Source, Written, read_source
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import InputError
from nima_cli.events import Event, Exported, Progress
from nima_cli.files import write_text


@dataclass(frozen=True, slots=True)
class _Folder:
    """A format of a folder: what may be in it, which file holds its weights, and what writes it with its card."""

    names: tuple[str, ...]
    weights: str
    export: Callable[[Source, Path, str], Written]


_FOLDERS = {
    "hf": _Folder(hf.NAMES, hf.WEIGHTS, hf.export),
    "peft": _Folder(peft_folder.NAMES, peft_folder.WEIGHTS, peft_folder.export),
}
_FILES: dict[str, Callable[[Source, Path], Written]] = {
    "gguf": gguf_file.export,
    "safetensors": safetensors_file.export,
}
FORMATS = ("hf", *_FILES, "peft")
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
        output: a folder for `hf` and `peft`, else a file. An earlier export there is replaced.
        format: hf, gguf, safetensors, or peft for the adapters of a LoRA run alone.
        dtype: float32, bfloat16 or float16; for gguf q8_0 or q4_0, too.
        licence: an identifier for the model card, such as `mit`.

    Raises:
        InputError: an argument has no such value, or `output` holds something else.
        CheckpointError: the checkpoint is unusable, the format cannot hold it, or reading back shows a difference.
        ResourceError: a package is missing, or the system refused to write.
    """
    _check(output, format, dtype, licence)
    yield Progress("loading", 0, 0, "")
    name = output.name if format in _FOLDERS else output.stem
    source = read_source(checkpoint, name=name, dtype=dtype, licence=licence, rounding=_rounding(format, dtype))
    yield Progress("writing and reading back", 0, 0, "")
    yield _exported(source, output, format)


def _check(output: Path, kind: str, dtype: str, licence: str) -> None:
    """Raise the errors that can be found before a checkpoint is read."""
    if kind not in FORMATS:
        raise InputError(f"`format={kind}`: no such format", hint=f"use {', '.join(FORMATS)}")
    if dtype not in (*DTYPES, *QUANTIZED):
        raise InputError(f"`dtype={dtype}`: no such type", hint=f"use {', '.join((*DTYPES, *QUANTIZED))}")
    if dtype in QUANTIZED and kind != "gguf":
        raise InputError(f"`dtype={dtype}`: only `format=gguf` has it", hint=f"use {', '.join(DTYPES)}")
    if not _SAFE_LICENCE.fullmatch(licence):
        raise InputError(f"`license={licence}`: not an identifier", hint="for example mit, apache-2.0 or cc-by-4.0")
    if not output.name:
        raise InputError(f"{output}: not a name for an export", hint="for example `output=exports/mine`")
    if kind in _FOLDERS:
        places.check_folder(output, _FOLDERS[kind].names, _FOLDERS[kind].weights)
    else:
        beside = [places.card_path(output), *([places.modelfile_path(output)] if kind == "gguf" else [])]
        for path in (output, *beside):
            places.check_file(path)


def _rounding(kind: str, dtype: str) -> Rounding:
    """How the weights are rounded: those of PEFT are beside others, which stay as they are."""

    def to_gguf(name: str, tensor: torch.Tensor, shape: ModelShape) -> torch.Tensor:
        return rounded(tensor, tensor_types(shape, dtype)[name])

    def to_dtype(name: str, tensor: torch.Tensor, shape: ModelShape) -> torch.Tensor:
        return tensor.to(torch.float32 if kind == "peft" else DTYPES[dtype])

    return to_gguf if kind == "gguf" else to_dtype


def _exported(source: Source, output: Path, kind: str) -> Exported:
    if kind in _FOLDERS:
        written = _FOLDERS[kind].export(source, output, model_card(source, kind, output.name))
        files = written.files
    else:
        written = _FILES[kind](source, output)
        files = (*written.files, places.card_path(output))
        write_text(files[-1], model_card(source, kind, output.name, written.verified))
    size = sum(file.stat().st_size for file in files)
    told = (tuple(clauses) for clauses in (written.verified, written.unverified, written.notes))
    return Exported(output, files, size, written.parameters, *told)
