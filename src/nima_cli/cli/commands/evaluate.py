"""`nima eval`: what a checkpoint is worth: its figures over a split, against baselines, and what it writes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nima_cli.cli.options import (
    CheckpointArgument,
    CheckpointPath,
    Debug,
    Device,
    Dtype,
    Json,
    Quiet,
    Seed,
    examples,
    path_of,
)
from nima_cli.errors import CheckpointError, DataError, InputError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Generator

    from nima_cli.engine.checkpoint.file import Checkpoint
    from nima_cli.engine.evaluation.run import Evaluation
    from nima_cli.events import Progress

EXAMPLES = examples(
    "nima eval",
    "nima eval --by source,kind --baselines",
    "nima eval --checkpoint experiments/technical --samples 50 --questions 200 --report report.html",
    "nima eval --checkpoint best.pt --data data/k8s --split val --json",
    note="best.pt is a checkpoint file, data/k8s a folder that `nima data prepare` made.",
)
SPLITS = ("test", "val", "train")
_MOST_TEXTS = 1000


def evaluate(
    path: CheckpointArgument = None,
    checkpoint: CheckpointPath = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="A prepared dataset; by default the one it was trained on.",
            metavar="DIR",
            parser=path_of,
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="test, val or train.", metavar="NAME")] = "test",
    by: Annotated[
        str, typer.Option("--by", help="Break the figures down: source, kind, or source,kind.", metavar="NAMES")
    ] = "",
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Measure unigram, 5-gram, xz and zstd on the same text.")
    ] = False,
    samples: Annotated[
        int,
        typer.Option(
            "--samples", help="Continue this many held-out beginnings and check what was written.", metavar="N"
        ),
    ] = 0,
    questions: Annotated[
        int, typer.Option("--questions", help="Ask this many held-out questions and score the answers.", metavar="N")
    ] = 0,
    seed: Seed = 0,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Write all of it to one HTML file too.",
            metavar="FILE.html",
            parser=path_of,
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    debug: Debug = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure a checkpoint on a split: every token once, exactly."""
    for flag, number in (("--samples", samples), ("--questions", questions)):
        if not 0 <= number <= _MOST_TEXTS:
            raise InputError(f"`{flag} {number}`: give a number from 0 to {_MOST_TEXTS}")
    wanted = {"by": _dimensions(by), "baselines": baselines, "samples": samples, "questions": questions, "seed": seed}
    if report is not None:
        _refuse_report(report)
    from nima_cli.cli.inference import chosen_checkpoint

    where = chosen_checkpoint(path, checkpoint, quiet=quiet)
    evaluate_checkpoint(
        where, data=data, split=split, json=json, device=device, dtype=dtype, quiet=quiet, report=report, **wanted
    )


def evaluate_checkpoint(
    path: Path,
    *,
    data: Path | None,
    split: str,
    json: bool,
    device: str,
    dtype: str,
    quiet: bool,
    report: Path | None = None,
    **wanted: Any,
) -> None:
    """Print the figures of one checkpoint over one split.

    Args:
        report: where to write the HTML page, if anywhere.
        wanted: fields of `engine.evaluation.run.Wanted`.

    Raises:
        NimaError: the checkpoint, dataset, split or device cannot be used.
    """
    if split not in SPLITS:
        from nima_cli.config.synonyms import nearest

        near = nearest(split, SPLITS)
        hint = f"did you mean `{near}`?" if near else f"use {', '.join(SPLITS)}"
        raise InputError(f"`--split {split}`: no such split", hint=hint)
    from nima_cli.cli.commands.eval_result import found_fields
    from nima_cli.cli.inference import load_model
    from nima_cli.engine.data.store.dataset import open_dataset
    from nima_cli.engine.evaluation.run import Wanted, evaluate_split

    loaded = load_model(path, device=device, dtype=dtype, batched=True, quiet=quiet)
    folder = data if data is not None else _dataset_of(loaded.checkpoint, loaded.path)
    dataset = open_dataset(folder)
    if dataset.tokenizer.sha256 != loaded.tokenizer.sha256:
        raise DataError(
            f"{folder}: its tokenizer is not the one that {loaded.path} was trained with",
            hint="give the dataset it was trained on, or prepare this one with --tokenizer-from",
        )
    asked = Wanted(**wanted)
    backend = loaded.backend() if asked.samples or asked.questions else None
    found = _follow(evaluate_split(loaded.model, dataset, split, asked, backend), quiet=quiet)
    dataset.verification.require()
    result: dict[str, Any] = {
        "checkpoint": str(loaded.path),
        "data": str(folder),
        "split": split,
        "dtype": loaded.dtype,
        "step": loaded.checkpoint.header.get("step"),
        "parameters": loaded.checkpoint.shape.parameters(),
        **found_fields(found),
    }
    if report is not None:
        from nima_cli.loggers.eval_report import write_report

        write_report(report, result)
    _print(result, json=json)
    if not json and not quiet:
        from nima_cli.ui.console import say

        say(_what_next(result, path, config=loaded.checkpoint.header.get("config", {})), "hint")


def _what_next(result: dict[str, Any], path: Path, *, config: dict[str, Any]) -> str:
    """What one does with these figures."""
    from nima_cli.ui.console import command

    if "behind" not in result:
        compare = command("nima", "eval", "--checkpoint", path, "--baselines")
        return f"compare it with simple predictors by {compare}, talk to it with {command('nima', 'chat', path)}"
    if not result["behind"]:
        return f"talk to it with {command('nima', 'chat', path)}"
    if not path.is_dir():
        return "more text or more epochs bring it ahead"
    epochs = 2 * float(config.get("training", {}).get("epochs") or 1)
    longer = command("nima", "train", "--resume", path, "--epochs", f"{epochs:g}")
    return f"more text or more epochs bring it ahead: {longer}"


def _dimensions(text: str) -> tuple[str, ...]:
    """The names in `--by`, each once.

    Raises:
        InputError: an unknown name.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text else ()
    for name in names:
        if name not in ("source", "kind"):
            raise InputError(f"`--by {text}`: no such name `{name}`", hint="use source, kind, or source,kind")
    return names


def _refuse_report(path: Path) -> None:
    """Say before the work, not after it, that the report could not be written."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"`--report {path}`: a report is an HTML page", hint="end the name in `.html`")
    if not path.parent.is_dir():
        raise InputError(f"`--report {path}`: there is no folder {path.parent}", hint="make it first")
    if path.is_dir():
        raise InputError(f"`--report {path}`: it is a folder")
    if not os.access(path.parent, os.W_OK):
        raise ResourceError(f"{path}: cannot write: permission denied")


def _follow(steps: "Generator[Progress, None, Evaluation]", *, quiet: bool) -> "Evaluation":
    """Show the phases; returns what the steps return."""
    from nima_cli.ui.phase_view import PhaseView

    view = PhaseView(quiet=quiet)
    try:
        while True:
            view(next(steps))
    except StopIteration as ended:
        found: Evaluation = ended.value
        return found
    finally:
        view.close()


def _print(result: dict[str, Any], *, json: bool) -> None:
    if json:
        from nima_cli.cli.event_handlers import print_json

        print_json(result)
        return
    from nima_cli.ui.console import out
    from nima_cli.ui.eval_view import eval_view

    out().print(eval_view(result))


def _dataset_of(checkpoint: "Checkpoint", path: Path) -> Path:
    """The dataset that the checkpoint's own configuration names, wherever it is now."""
    from nima_cli.cli.datasets import dataset_of_run
    from nima_cli.config.schema import Config

    try:
        config = Config.model_validate(checkpoint.header.get("config", {}))
    except ValueError as error:
        raise CheckpointError(
            f"{path}: its configuration is not one of this version", hint="name the dataset with --data"
        ) from error
    return dataset_of_run(config, path.parent, checkpoint.header.get("dataset_sha256"))
