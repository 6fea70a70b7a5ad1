"""`nima train --dry-run`: what a run would do and cost, before it does anything."""

from pathlib import Path
from typing import TYPE_CHECKING

from nima_cli.cli.compiled import compiled
from nima_cli.cli.event_handlers import print_json
from nima_cli.cli.training.start import TrainOptions, settings_of

if TYPE_CHECKING:
    from nima_cli.engine.training.planning.estimate import Estimate


def show_plan(options: TrainOptions) -> None:
    """Print the plan of a run on stdout.

    Raises:
        NimaError: the configuration, dataset or device cannot be used.
    """
    from nima_cli.cli.datasets import data_dir
    from nima_cli.config.schema import PRESET_VOCAB_SIZES
    from nima_cli.engine.data.store.dataset import open_dataset
    from nima_cli.engine.training.planning.estimate import estimate
    from nima_cli.ui.console import out
    from nima_cli.ui.tables import plan_table

    config = settings_of(options)
    folder = data_dir(config.data)
    ready = (folder / "dataset_metadata.json").is_file()
    default_vocabulary = PRESET_VOCAB_SIZES.get(config.model.preset or "", 8192)
    dataset = open_dataset(folder) if ready else None
    found = estimate(config, dataset, vocab_size=default_vocabulary, compiled=compiled())
    if options.json:
        print_json(found.to_dict())
        return
    out().print(plan_table(_rows(found, folder, ready=ready)))


def _rows(found: "Estimate", folder: Path, *, ready: bool) -> list[tuple[str, str, str]]:
    from nima_cli.ui import formatting

    rows = [
        ("model", f"{found.parameters:,} parameters", found.shape_text),
        ("device", found.device, found.dtype),
        *_memory_rows(found),
        ("disk", formatting.size(found.disk_bytes), "the checkpoints that are kept, the best, and one being written"),
    ]
    if not ready:
        rows.append(("data", str(folder), "not prepared yet: tokens, steps and time are known once it is"))
        return rows + [("note", note, "") for note in found.notes]
    per_parameter = found.train_tokens / found.parameters
    rows += [
        ("data", str(folder), f"{found.train_tokens:,} tokens to train on, {per_parameter:.2f} per parameter"),
        ("batch", f"{found.tokens_per_step:,} tokens a step", ""),
        ("steps", f"{found.total_steps:,}", f"{found.total_epochs:.2f} epochs, {found.warmup_steps} of warm-up"),
        (
            "recipe",
            f"learning rate {formatting.rate(found.learning_rate or 0.0)}",
            f"weight decay {found.weight_decay:g}, embeddings {found.embedding_weight_decay:g}; "
            f"dropout {found.dropout:g}",
        ),
        ("evaluation", f"every {found.eval_steps} steps", ""),
        _time_row(found),
    ]
    return rows + [("note", note, "") for note in found.notes]


def _memory_rows(found: "Estimate") -> list[tuple[str, str, str]]:
    """What is needed and available, and where that is too little, what to do."""
    from nima_cli.ui import formatting

    available = found.memory_available_bytes
    there = f"{formatting.size(available)} available" if available is not None else "unknown how much is available"
    rows = [("memory", formatting.size(found.memory_bytes), f"estimated, the most in {found.memory_peak}; {there}")]
    if found.fits:
        return rows
    if found.pieces:
        rows.append(("", "does not fit at once", f"with training.auto_batch, each batch in {found.pieces} pieces does"))
    else:
        rows.append(("", "does not fit", "not even one row at a time"))
    settings = " ".join(f"--set {key}={value}" for key, value in found.fitting_settings.items())
    rows.append(("", "what fits", settings or "a smaller model"))
    return rows


def _time_row(found: "Estimate") -> tuple[str, str, str]:
    from nima_cli.ui import formatting

    if found.not_measured:
        return ("time", "not measured", found.not_measured)
    return (
        "time",
        formatting.duration(found.seconds),
        f"at {found.tokens_per_second:,.0f} tokens/s, measured just now",
    )
