"""`nima train --dry-run`: what a run would do and cost, before it does anything."""

from typing import TYPE_CHECKING

from nima_cli.cli.compiled import compiled
from nima_cli.cli.event_handlers import print_json
from nima_cli.cli.training.start import TrainOptions, settings_of

if TYPE_CHECKING:
    from nima_cli.engine.training.planning.estimate import Estimate
    from nima_cli.engine.training.planning.fitting import Fit


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
    out().print(plan_table([*_rows(found, str(folder)), *(("note", note, "") for note in found.notes)]))


def _rows(found: "Estimate", folder: str) -> list[tuple[str, str, str]]:
    from nima_cli.ui.formatting import duration, rate, size

    shape, plan, training = found.spec.shape, found.spec.plan, found.spec.config.training
    kept = "the checkpoints that are kept, the best, and one being written"
    rows = [
        ("model", f"{shape.parameters():,} parameters", found.shape_text),
        ("device", found.device, found.dtype),
        *_memory_rows(found.fit),
        ("disk", size(found.disk_bytes), kept),
    ]
    if found.train_tokens is None:
        return [*rows, ("data", folder, "not prepared yet: tokens, steps and time are known once it is")]
    per_parameter = found.train_tokens / shape.parameters()
    decay = f"weight decay {training.weight_decay:g}, embeddings {training.embedding_weight_decay:g}"
    time, speed = "not measured", found.not_measured
    if not speed:
        time, speed = duration(found.seconds), f"at {found.tokens_per_second:,.0f} tokens/s, measured just now"
    return [
        *rows,
        ("data", folder, f"{found.train_tokens:,} tokens to train on, {per_parameter:.2f} per parameter"),
        ("batch", f"{plan.tokens_per_step:,} tokens a step", ""),
        ("steps", f"{plan.total_steps:,}", f"{plan.total_epochs:.2f} epochs, {plan.schedule.warmup_steps} of warm-up"),
        (
            "recipe",
            f"learning rate {rate(plan.schedule.peak)}",
            f"{decay}; dropout {found.spec.config.model.dropout:g}",
        ),
        ("evaluation", f"every {plan.eval_steps} steps", ""),
        ("time", time, speed),
    ]


def _memory_rows(fit: "Fit") -> list[tuple[str, str, str]]:
    """What is needed and available, and where that is too little, what to do."""
    from nima_cli.ui.formatting import size

    there = f"{size(fit.available)} available" if fit.available is not None else "unknown how much is available"
    rows = [("memory", size(fit.needed.peak), f"estimated, the most in {fit.needed.peak_phase}; {there}")]
    if fit.fits:
        return rows
    if fit.micro_batches:
        pieces = f"with training.auto_batch, each batch in {fit.micro_batches} pieces does"
        rows.append(("", "does not fit at once", pieces))
    else:
        rows.append(("", "does not fit", "not even one row at a time"))
    settings = " ".join(f"--set {key}={value}" for key, value in fit.settings.items())
    return [*rows, ("", "what fits", settings or "a smaller model")]
