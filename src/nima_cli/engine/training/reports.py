"""The events of a run, made from its state; decides nothing and writes nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from nima_cli import __version__
from nima_cli.config.schema import Config
from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.data.store.inspection import source_mix
from nima_cli.engine.training.evaluator import Metrics
from nima_cli.engine.training.resume.same_run import free_changes
from nima_cli.engine.training.state import RunState
from nima_cli.events import EvalDone, Event, Note, RunEnded, RunStarted, StepDone

# What computes a run, by what its state calls it.
COMPILED = {
    None: "torch alone",
    "kernels": "compiled kernels",
    "int8 kernels": "compiled kernels and int8 products",
    "torch": "layers compiled by torch",
}


def run_started(state: RunState, run_dir: Path) -> RunStarted:
    """What this process is about to do."""
    return RunStarted(
        run_dir=run_dir,
        data=state.dataset.folder,
        sources=tuple((one["source"], one["epoch_share"]) for one in source_mix(state.dataset)),
        version=__version__,
        config_json=json.dumps(state.config.model_dump(mode="json")),
        parameters=state.shape.parameters(),
        train_tokens=state.dataset.split("train").tokens,
        tokens_per_step=state.plan.tokens_per_step,
        total_steps=state.plan.total_steps,
        first_step=state.step + 1,
        total_epochs=state.plan.total_epochs,
        device=state.device.name,
        dtype=state.device.precision,
        seed=state.config.training.seed,
        compiled=COMPILED["kernels" if state.device.kernels is not None else state.compiled],  # int8 is said in `dtype`
    )


def step_done(state: RunState) -> StepDone:
    """The steps since the last such event; the meter starts over."""
    loss, grad_norm, rate = state.meter.read()
    state.meter.start()
    return StepDone(
        step=state.step,
        epoch=state.plan.epoch(state.step),
        tokens=state.step * state.plan.tokens_per_step,
        loss=loss,
        learning_rate=state.optimizer.learning_rate,
        grad_norm=grad_norm,
        tokens_per_second=rate,
        train_seconds=state.meter.train_seconds,
        elapsed_seconds=state.meter.elapsed_seconds,
        skipped_steps=state.meter.refused,
    )


def eval_done(state: RunState, split: str, metrics: Metrics, *, train_loss: float, best: bool) -> EvalDone:
    """An evaluation of `split` at this step."""
    return EvalDone(
        step=state.step,
        split=split,
        loss=metrics.loss,
        bits_per_byte=metrics.bits_per_byte,
        accuracy=metrics.accuracy,
        tokens=metrics.tokens,
        train_seconds=state.meter.train_seconds,
        elapsed_seconds=state.meter.elapsed_seconds,
        best=best,
        train_loss=train_loss,
    )


def run_ended(state: RunState, reason: str) -> RunEnded:
    """How the run ended."""
    return RunEnded(
        reason=reason, step=state.step, best_loss=state.stopping.best.loss, best_step=state.stopping.best.step
    )


def resume_notes(resume: Checkpoint | None, config: Config, state: RunState, processes: int) -> Iterator[Event]:
    """What of a run that goes on is otherwise than when its checkpoint was written."""
    if resume is None:
        return
    device = state.device
    yield Note("info", f"resuming from step {resume.header.get('step')}")
    for change in free_changes(resume.header.get("config", {}), config):
        yield Note("info", change)
    dtype = resume.header.get("dtype")
    if dtype != device.dtype_name:
        yield Note("warning", f"computing in {device.dtype_name} instead of {dtype}: losses will not be the same")
    threads = resume.header.get("threads")
    if device.device.type == "cpu" and threads != torch.get_num_threads():
        yield Note("warning", f"{torch.get_num_threads()} threads instead of {threads}: sums may round differently")
    before = resume.header.get("compiled")
    if before != state.compiled:
        now, then = COMPILED[state.compiled], COMPILED.get(before, "programs of another version")
        yield Note("warning", f"computing with {now} instead of {then}: sums may round differently")
    were = resume.header.get("processes", 1)
    if processes != were:
        yield Note("warning", f"{processes} processes instead of {were}: the same rows; sums may round differently")
