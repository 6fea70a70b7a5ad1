"""What `nima train` does instead of training: the plan of a run, the proof of exact resumption, an evaluation."""

import os
from typing import TYPE_CHECKING

from nima_cli.cli import rundir
from nima_cli.cli.datasets import data_dir
from nima_cli.cli.event_handlers import print_json
from nima_cli.cli.home import compile_meanwhile, compiled
from nima_cli.cli.initial import check_tokenizer
from nima_cli.cli.training.start import TrainOptions, find_resume, load_settings, prepare_data
from nima_cli.errors import DeviceError, InputError
from nima_cli.ui.console import out, say
from nima_cli.ui.formatting import duration, rate, size

if TYPE_CHECKING:
    from nima_cli.engine.training.planning.estimate import Estimate
    from nima_cli.engine.training.planning.fitting import Fit


def show_plan(options: TrainOptions) -> None:
    """`--dry-run`: print what a run would do and cost."""
    from nima_cli.config.schema import PRESET_VOCAB_SIZES
    from nima_cli.engine.data.store.dataset import open_dataset
    from nima_cli.engine.training.planning.estimate import estimate
    from nima_cli.ui.tables import table

    config, initial = load_settings(options, find_resume(options, tensors=False)[1])
    folder = data_dir(config.data)
    ready = (folder / "dataset_metadata.json").is_file()
    if ready and initial is not None:
        check_tokenizer(folder, initial)
    vocab_size = PRESET_VOCAB_SIZES.get(config.model.preset or "", 8192)
    found = estimate(config, open_dataset(folder) if ready else None, vocab_size=vocab_size, compiled=compiled())
    if options.json:
        print_json(found.to_dict())
        return
    rows = [*_rows(found, str(folder)), *(("note", note, "") for note in found.notes)]
    out().print(table(("", "", ""), rows, styles=("dim", "bold")))


def _rows(found: "Estimate", folder: str) -> list[tuple[str, str, str]]:
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
    decay += f"; dropout {found.spec.config.model.dropout:g}"
    time, speed = "not measured", found.not_measured
    if not speed:
        time, speed = duration(found.seconds), f"at {found.tokens_per_second:,.0f} tokens/s, measured just now"
    return [
        *rows,
        ("data", folder, f"{found.train_tokens:,} tokens to train on, {per_parameter:.2f} per parameter"),
        ("batch", f"{plan.tokens_per_step:,} tokens a step", ""),
        ("steps", f"{plan.total_steps:,}", f"{plan.total_epochs:.2f} epochs, {plan.schedule.warmup_steps} of warm-up"),
        ("optimizer", f"learning rate {rate(plan.schedule.peak)}", decay),
        ("evaluation", f"every {plan.eval_steps} steps", ""),
        ("time", time, speed),
    ]


def _memory_rows(fit: "Fit") -> list[tuple[str, str, str]]:
    """Memory needed and available and, where that is too little, what fits."""
    from nima_cli.engine.training.planning.fitting import setting_text

    there = f"{size(fit.available)} available" if fit.available is not None else "unknown how much is available"
    rows = [("memory", size(fit.needed.peak), f"estimated, the most in {fit.needed.peak_phase}; {there}")]
    if fit.recompute:
        rows.append(("", "layers twice", "computed once more for the backward pass: less memory, a third slower"))
    if fit.fits:
        return rows
    pieces = ("", "does not fit", "not even one row at a time")
    if fit.micro_batches:
        how = f"with training.auto_batch, each batch in {fit.micro_batches} pieces does"
        pieces = ("", "does not fit at once", how)
    settings = " ".join(f"--set {key}={setting_text(value)}" for key, value in fit.settings.items())
    return [*rows, pieces, ("", "what fits", settings or "a smaller model")]


def show_verdict(options: TrainOptions) -> None:
    """`--verify-resume`: say in one line that a resumed run is exact here; a DeviceError names the first difference."""
    from nima_cli.engine.kernels.build import KERNELS
    from nima_cli.engine.training.resume.verify import HALF, verify_resume

    if "WORLD_SIZE" in os.environ:
        raise InputError("--verify-resume: trains in one process", hint="run it without a launcher")
    settings, initial = load_settings(options, find_resume(options, tensors=False)[1])
    compile_meanwhile(KERNELS, settings.hardware.device)
    prepare_data(settings, initial, quiet=options.quiet)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS has no fixed order of sums
    say(f"training {2 * HALF} steps at once, then {HALF} and {HALF} in two processes")
    init_from = initial.ref.path if initial is not None else None
    verdict = verify_resume(settings, data_dir(settings.data), compiled(), init_from=init_from)
    how = f"{verdict.device} {verdict.dtype}, {verdict.threads} threads, {verdict.seconds:g} s"
    if options.json:
        print_json(verdict.to_dict())
    elif verdict.identical:
        out().print(f"resume is bit-identical: {verdict.steps} steps at once = {HALF} + {HALF} ({how})")
        if verdict.deterministic:
            say("verified with sums in a fixed order; a run itself leaves the GPU its own, and is equal up to rounding")
    if not verdict.identical:
        raise DeviceError(
            f"resume is not exact here: {verdict.difference} ({how})",
            hint="a run that is resumed goes on well, but not bit for bit; on a GPU, kernels that add up in any order "
            "are the usual reason",
        )


def evaluate_run(options: TrainOptions) -> None:
    """`--eval-only`: measure the checkpoint of `--resume`, else the run of that name, on the test split."""
    from nima_cli.cli.commands.evaluate import evaluate_model
    from nima_cli.cli.inference import load_model

    path, checkpoint = find_resume(options)
    chosen = path or options.output_dir or rundir.find_run_dir(None, options.name)
    if chosen is None:
        raise InputError("--eval-only: there is no run to evaluate", hint="name its checkpoint with --resume PATH")
    device = options.device or "auto"
    loaded = load_model(
        str(chosen), device=device, dtype="auto", batched=True, quiet=options.quiet, checkpoint=checkpoint
    )
    evaluate_model(loaded, str(chosen), data=options.data, split="test", json=options.json)
