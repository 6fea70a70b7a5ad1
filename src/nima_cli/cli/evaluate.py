"""`nima eval`: loss, perplexity, accuracy and bits per byte of a checkpoint over a split."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nima_cli.cli.options import CheckpointPath, Debug, Device, Dtype, Json, Quiet, examples
from nima_cli.errors import CheckpointError, DataError, InputError

if TYPE_CHECKING:
    from nima_cli.engine.checkpoint import Checkpoint

EXAMPLES = examples(
    "nima eval --checkpoint experiments/technical",
    "nima eval --checkpoint best.pt --data data/k8s --split test --json",
)
SPLITS = ("test", "val", "train")


def evaluate(
    checkpoint: CheckpointPath,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A prepared dataset; by default the one it was trained on.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="test, val or train.", metavar="NAME")] = "test",
    device: Device = "auto",
    dtype: Dtype = "auto",
    debug: Debug = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure a checkpoint on a split: every token once, exactly."""
    evaluate_checkpoint(checkpoint, data=data, split=split, json=json, device=device, dtype=dtype, quiet=quiet)


def evaluate_checkpoint(
    path: Path, *, data: Path | None, split: str, json: bool, device: str, dtype: str, quiet: bool
) -> None:
    """Print the figures of one checkpoint over one split.

    Raises:
        NimaError: the checkpoint, dataset, split or device cannot be used.
    """
    if split not in SPLITS:
        raise InputError(f"`--split {split}`: no such split", hint=f"use {', '.join(SPLITS)}")
    from nima_cli.cli.inference import load_model
    from nima_cli.engine.data.dataset import open_dataset
    from nima_cli.engine.training.evaluator import evaluate as measure
    from nima_cli.ui.console import err, out
    from nima_cli.ui.tables import eval_table

    loaded = load_model(path, device=device, dtype=dtype, batched=True)
    folder = data if data is not None else _dataset_of(loaded.checkpoint, path)
    dataset = open_dataset(folder)
    if dataset.tokenizer.sha256 != loaded.tokenizer.sha256:
        raise DataError(
            f"{folder}: its tokenizer is not the one that {loaded.path} was trained with",
            hint="give the dataset it was trained on, or prepare this one with --tokenizer-from",
        )
    busy = err().is_terminal and not quiet
    with err().status(f"evaluating {split}") if busy else contextlib.nullcontext():
        metrics = measure(loaded.model, dataset.split(split), loaded.tokenizer.byte_lengths())
    result: dict[str, Any] = {
        "checkpoint": str(loaded.path),
        "data": str(folder),
        "split": split,
        "dtype": str(loaded.model.compute_dtype).removeprefix("torch."),
        "step": loaded.checkpoint.header.get("step"),
        "parameters": loaded.checkpoint.shape.parameters(),
        "loss": metrics.loss,
        "perplexity": metrics.perplexity,
        "accuracy": metrics.accuracy,
        "bits_per_byte": metrics.bits_per_byte,
        "tokens": metrics.tokens,
        "bytes": metrics.bytes,
    }
    if json:
        from nima_cli.cli.views import print_json

        print_json(result)
    else:
        out().print(eval_table(result))


def _dataset_of(checkpoint: "Checkpoint", path: Path) -> Path:
    """The dataset that the checkpoint's own configuration names, if it is still there."""
    from nima_cli.cli.datasets import data_dir, with_sources
    from nima_cli.config.schema import Config

    try:
        config = Config.model_validate(checkpoint.header.get("config", {}))
    except ValueError as error:
        raise CheckpointError(
            f"{path}: its configuration is not one of this version", hint="name the dataset with --data"
        ) from error
    folder = data_dir(with_sources(config).data)
    if not folder.is_dir():
        raise DataError(f"{path}: the dataset it was trained on is not at {folder}", hint="name it with --data")
    return folder
