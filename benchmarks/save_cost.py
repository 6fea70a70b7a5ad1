"""Times the parts of a checkpoint save at preset sizes: copy, write, sync, check, and the whole.

    python benchmarks/save_cost.py gpt-tiny gpt-small --folder /path/on/the/disk/in/question

Training stands still for the whole. Copy: every tensor once in memory. Write: `torch.save` into the file, which also
computes the checksums. Sync: fsync. Check: every byte read back and compared with its checksum. The table shows the
median of the repetitions; `write alone` is what `dd` of as many bytes with one fsync takes on that disk.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nima_cli.config.schema import PRESET_VOCAB_SIZES, PRESETS, ModelConfig
from nima_cli.engine.checkpoint.archive import check_archive
from nima_cli.engine.checkpoint.file import Checkpoint, save
from nima_cli.engine.model.shape import resolve


def _checkpoint(preset: str) -> Checkpoint:
    """Weights and Muon's and AdamW's state of a preset, of random numbers."""
    model = ModelConfig.model_validate({"preset": preset, **PRESETS[preset]["model"]})
    shape = resolve(model, PRESET_VOCAB_SIZES[preset])
    sizes = shape.tensors()
    return Checkpoint(
        shape=shape,
        model={name: torch.randn(size) for name, size in sizes.items()},
        tokenizer_proto=bytes(200_000),
        header={"step": 1},
        optimizer={
            name: {key: torch.randn(size) for key in (("momentum",) if "layers." in name else ("exp_avg", "exp_sq"))}
            for name, size in sizes.items()
        },
    )


def _timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _copy(checkpoint: Checkpoint) -> None:
    groups = [checkpoint.model, *(checkpoint.optimizer or {}).values()]
    for group in groups:
        {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in group.items()}


def _write_alone(path: Path, size: int) -> None:
    block = os.urandom(1 << 20)
    with path.open("wb") as stream:
        for _ in range(size >> 20):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())


def _parts(checkpoint: Checkpoint, folder: Path) -> dict[str, float]:
    path, plain = folder / "checkpoint.pt", folder / "plain.pt"
    whole = _timed(lambda: save(path, checkpoint))
    payload = {"model": checkpoint.model, "optimizer": checkpoint.optimizer}
    with plain.open("wb") as stream:
        write = _timed(lambda: torch.save(payload, stream))
        stream.flush()
        sync = _timed(lambda: os.fsync(stream.fileno()))
    parts = {
        "copy": _timed(lambda: _copy(checkpoint)),
        "write": write,
        "sync": sync,
        "check": _timed(lambda: check_archive(path)),
        "whole": whole,
        "write alone": _timed(lambda: _write_alone(folder / "alone", path.stat().st_size)),
    }
    for name in ("plain.pt", "alone"):
        (folder / name).unlink()
    return parts


def main() -> None:
    """Print one line for each preset."""
    parser = argparse.ArgumentParser(description="Time the parts of a checkpoint save.")
    parser.add_argument("presets", nargs="+", choices=sorted(PRESETS))
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure; default: temporary files")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    for preset in arguments.presets:
        checkpoint = _checkpoint(preset)
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            found = [_parts(checkpoint, Path(name)) for _ in range(arguments.repeat)]
        medians = {part: statistics.median(row[part] for row in found) for part in found[0]}
        figures = "  ".join(f"{part} {seconds:.3f} s" for part, seconds in medians.items())
        print(f"{preset}  {checkpoint.nbytes() / 1e6:,.0f} MB  {figures}")


if __name__ == "__main__":
    main()
