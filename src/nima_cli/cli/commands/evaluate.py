"""`nima eval`: measures a checkpoint over a split, against baselines, and by what it writes."""

import os
from pathlib import Path
from typing import Any

from nima_cli.cli import options
from nima_cli.cli.commands.eval_result import result_fields
from nima_cli.cli.datasets import dataset_of_run
from nima_cli.cli.event_handlers import print_json, run
from nima_cli.cli.inference import LoadedModel, chosen_model, load_model
from nima_cli.cli.options import option, path_option, require_choice, switch
from nima_cli.errors import CheckpointError, DataError, InputError, ResourceError
from nima_cli.ui.console import command, out, say

EXAMPLES = options.examples(
    "nima eval",
    "nima eval --by source,kind --baselines",
    "nima eval --checkpoint experiments/technical --samples 50 --questions 200 --report report.html",
    "nima eval --checkpoint best.pt --data data/k8s --split val --json",
    note="best.pt is a checkpoint file, data/k8s a folder that `nima data prepare` made.",
)


def evaluate(
    path: options.ModelArgument = None,
    checkpoint: options.ModelOption = None,
    data: Path | None = path_option(None, "DIR", "A prepared dataset; by default the one it was trained on."),
    split: str = option("test", "NAME", "test, val or train."),
    by: str = option("", "NAMES", "Break the figures down: source, kind, or source,kind."),
    baselines: bool = switch("--baselines", "Measure unigram, 5-gram, xz and zstd on the same text."),
    samples: int = option(
        0, "N", "Continue this many held-out beginnings and check what was written.", min=0, max=1000
    ),
    questions: int = option(0, "N", "Ask this many held-out questions and score the answers.", min=0, max=1000),
    seed: options.Seed = 0,
    report: Path | None = path_option(None, "FILE.html", "Write all of it to one HTML file too."),
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    debug: options.Debug = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Measure a checkpoint on a split: every token once, exactly."""
    dimensions = tuple(dict.fromkeys(name.strip() for name in by.split(","))) if by else ()
    for name in dimensions:
        require_choice("--by", name, ("source", "kind"))
    wanted = {"by": dimensions, "baselines": baselines, "samples": samples, "questions": questions, "seed": seed}
    if report is not None:
        _refuse_report(report)
    named = chosen_model(path, checkpoint, quiet=quiet)
    require_choice("--split", split, ("test", "val", "train"))
    loaded = load_model(named, device=device, dtype=dtype, batched=True, quiet=quiet)
    evaluate_model(loaded, named, data=data, split=split, json=json, report=report, **wanted)


def evaluate_model(
    loaded: LoadedModel,
    named: str,
    *,
    data: Path | None,
    split: str,
    json: bool,
    report: Path | None = None,
    **wanted: Any,
) -> None:
    """Print the figures of a model, which was named so, over one split; `wanted` goes to `evaluate_split`."""
    from nima_cli.engine.data.store.dataset import open_dataset
    from nima_cli.engine.evaluation.run import evaluate_split
    from nima_cli.ui.eval_view import eval_view
    from nima_cli.ui.progress_view import PhaseView

    header = loaded.checkpoint.header
    dataset = open_dataset(data if data is not None else _dataset_of(loaded))
    if dataset.tokenizer.sha256 != loaded.tokenizer.sha256:
        from nima_cli.cli.datasets import prepare_again

        again = prepare_again(dataset.folder, dataset.metadata, named)
        raise DataError(
            f"{dataset.folder}: its tokenizer is not the one that {named} was trained with",
            hint=f"give the dataset it was trained on, or prepare this one again: {again}",
        )
    backend = loaded.backend() if wanted.get("samples") or wanted.get("questions") else None
    length = loaded.checkpoint.sequence_length
    work = evaluate_split(loaded.model, dataset, split, backend=backend, context_length=length, **wanted)
    found = run(work, [PhaseView(quiet=loaded.quiet)])
    dataset.verification.require()
    result: dict[str, Any] = {
        "checkpoint": str(loaded.path),
        "data": str(dataset.folder),
        "split": split,
        "dtype": loaded.dtype,
        "step": header.get("step"),
        "parameters": loaded.checkpoint.shape.parameters(),
        **result_fields(found),
    }
    if report is not None:
        from nima_cli.loggers.eval_report import write_report

        write_report(report, result)
    if json:
        print_json(result)
        return
    out().print(eval_view(result))
    if not loaded.quiet:
        say(_what_next(result, named, data, config=header.get("config", {})), "hint")


def _what_next(result: dict[str, Any], named: str, data: Path | None, *, config: dict[str, Any]) -> str:
    talk = f"talk to it with {command('nima', 'chat', named)}"
    if "behind" not in result:
        where = ("--data", data) if data is not None else ()
        compare = command("nima", "eval", "--checkpoint", named, *where, "--baselines")
        return f"compare it with simple predictors by {compare}, {talk}"
    if not result["behind"]:
        return talk
    longer = "more text or more epochs bring it ahead"
    if not config or not Path(named).is_dir():
        return longer
    epochs = 2 * float(config.get("training", {}).get("epochs") or 1)
    return f"{longer}: {command('nima', 'train', '--resume', named, '--epochs', f'{epochs:g}')}"


def _refuse_report(path: Path) -> None:
    """Refuse, before the work, a report that could not be written."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"`--report {path}`: a report is an HTML page", hint="end the name in `.html`")
    if not path.parent.is_dir():
        raise InputError(f"`--report {path}`: there is no folder {path.parent}", hint="make it first")
    if path.is_dir():
        raise InputError(f"`--report {path}`: it is a folder")
    if not os.access(path.parent, os.W_OK):
        raise ResourceError(f"{path}: cannot write: permission denied")


def _dataset_of(loaded: LoadedModel) -> Path:
    """The dataset that the model was trained on, wherever it is now."""
    from nima_cli.config.schema import Config

    path, header = loaded.path, loaded.checkpoint.header
    if "config" not in header and "pretrained" in header:
        raise DataError(
            f"{path}: others trained it, on data that is not here",
            hint="name a dataset with --data, prepared with its tokenizer (--tokenizer-from)",
        )
    try:
        config = Config.model_validate(header.get("config", {}))
    except ValueError as error:
        message = f"{path}: its configuration is not one of this version"
        raise CheckpointError(message, hint="name the dataset with --data") from error
    return dataset_of_run(config, path.parent, header.get("dataset_sha256"))
