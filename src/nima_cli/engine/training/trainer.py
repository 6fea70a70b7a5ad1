"""The training loop as an iterator of events: it trains, evaluates, samples and saves, and shows nothing itself."""

import dataclasses
import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import torch

from nima_cli import __version__
from nima_cli.config.schema import Config
from nima_cli.engine import checkpoint as checkpoints
from nima_cli.engine.checkpoint import BEST, LAST, Checkpoint
from nima_cli.engine.data.dataset import Batch, PreparedDataset
from nima_cli.engine.device import Device
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import resolve
from nima_cli.engine.training.evaluator import Metrics, evaluate
from nima_cli.engine.training.meter import FP16_PATIENCE, PATIENCE, Meter
from nima_cli.engine.training.optim import Optimizer
from nima_cli.engine.training.plan import RunPlan, make_plan
from nima_cli.engine.training.ranks import SINGLE, Ranks
from nima_cli.engine.training.samples import draw_samples
from nima_cli.engine.training.step import TrainStep
from nima_cli.engine.training.stopping import Best, EarlyStopping
from nima_cli.errors import DivergedError, ResourceError
from nima_cli.events import EvalDone, Event, Note, RunEnded, RunStarted, Saved, StepDone


class _StopRequestedError(Exception):
    """Someone asked to stop while an evaluation was under way."""


class Trainer:
    """One process's part of one run.

    Args:
        config: everything the user decided.
        dataset: what to learn from.
        run_dir: where checkpoints go; it exists and is this run's alone.
        device: where and in which type to compute.
        resume: a checkpoint of this run to go on from.
        init_from: a checkpoint whose weights to start a new run with.
        ranks: this process's place among those that train together.
        should_stop: asked at every step; a reason (`INT`, `TERM`) ends the run after a save.
    """

    def __init__(
        self,
        config: Config,
        dataset: PreparedDataset,
        run_dir: Path,
        device: Device,
        *,
        resume: Checkpoint | None = None,
        init_from: Checkpoint | None = None,
        ranks: Ranks = SINGLE,
        should_stop: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.config, self.dataset, self.run_dir, self.device, self.ranks = config, dataset, run_dir, device, ranks
        self._should_stop = should_stop
        self.train_split, self.val_split = dataset.split("train"), dataset.split("val")
        self.shape = resolve(config.model, dataset.tokenizer.vocab_size)
        self.plan = plan_run(config, dataset, world_size=ranks.world_size)
        self.model = self._build_model(resume or init_from)
        self.optimizer = Optimizer(
            self.model, kind=config.training.optimizer, weight_decay=config.training.weight_decay
        )
        self._step_once = TrainStep(
            self.model,
            self.optimizer,
            device,
            ranks,
            seed=config.training.seed,
            max_grad_norm=config.training.max_grad_norm,
        )
        self._byte_lengths_V = torch.from_numpy(dataset.tokenizer.byte_lengths()).long()
        self._restore(resume.header if resume is not None else {}, resume)

    def _build_model(self, source: Checkpoint | None) -> GPT:
        model = GPT(self.shape, dropout=self.config.model.dropout, compute_dtype=self.device.dtype)
        if source is None:
            model.init_weights(self.config.training.seed)
        else:
            model.load_state_dict(source.model, strict=True)
        return model.to(self.device.device)

    def _restore(self, header: dict[str, Any], resume: Checkpoint | None) -> None:
        """Take up the position of a checkpoint, or the beginning."""
        self.step = int(header.get("step", 0))
        self._evaluated_step = int(header.get("evaluated_step", 0))
        self._extends = resume is not None and header.get("total_steps") != self.plan.total_steps
        self.stopping = EarlyStopping(
            self.config.training.early_stopping, Best.from_dict(header["best"]) if "best" in header else None
        )
        self.meter = Meter(
            self.device,
            self.ranks,
            train_seconds=float(header.get("train_seconds", 0.0)),
            elapsed_seconds=float(header.get("elapsed_seconds", 0.0)),
            patience=PATIENCE if self._step_once.loss_scale is None else FP16_PATIENCE,
        )
        if "open_window" in header and self.ranks.is_first:
            self.meter.reopen_window(header["open_window"])
        if resume is not None and resume.optimizer is not None:
            self.optimizer.load_state(resume.optimizer)
        if self._step_once.loss_scale is not None and header.get("loss_scale"):
            self._step_once.loss_scale.value = float(header["loss_scale"]["value"])
            self._step_once.loss_scale.calm_steps = int(header["loss_scale"]["calm_steps"])

    def run(self) -> Iterator[Event]:
        """Train to the end of the plan, early stopping, or a request to stop.

        Raises:
            DivergedError: too many steps in a row were not finite; what is on disk is finite.
            ResourceError: a checkpoint could not be written.
        """
        yield self._started()
        for note in self.plan.notes:
            yield Note("warning", note)
        if self._extends:
            yield Note("info", f"the schedule is laid over {self.plan.total_steps} steps from step {self.step} on")
        stop = False
        if self.step and self._evaluation_due():  # the last part was stopped before it could evaluate
            stop = yield from self._evaluate()
            yield from self._save(LAST)
        self.meter.start()
        while not self._is_over(stop):
            self._train_one_step()
            if self.step % self.plan.log_steps == 0 or self._is_last:
                yield self._step_done()
            if self._log_due_for_divergence() and self.meter.diverged:
                times = self.meter.patience
                yield from self._diverge(f"the loss or gradient was not finite {times} times in a row")
            stop = self._agreed_stop()
            if not stop and self._evaluation_due():
                self.meter.pause()
                stop = yield from self._evaluate()
                self.meter.start()
            if self._is_over(stop) or self.step % self.plan.save_steps == 0:
                self.meter.pause()
                yield from self._save(LAST)
                self.meter.start()
        yield self._ended("interrupted" if stop else "early_stopped" if self.stopping.out_of_patience else "completed")

    @property
    def _is_last(self) -> bool:
        return self.step >= self.plan.total_steps

    def _is_over(self, stop: bool) -> bool:
        return stop or self.stopping.out_of_patience or self._is_last

    def _train_one_step(self) -> None:
        batches = self._micro_batches(self.step)
        learning_rate = self.plan.schedule(self.step + 1)
        try:
            outcome = self._step_once(batches, step=self.step + 1, learning_rate=learning_rate)
        except RuntimeError as error:  # torch's own kind on a GPU, a plain RuntimeError from the CPU's allocator
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise self._out_of_memory() from error
            raise
        self.step += 1
        self.meter.add(outcome)

    def _out_of_memory(self) -> ResourceError:
        training = self.config.training
        batch, accumulation = training.batch_size, training.gradient_accumulation_steps
        smaller = (
            f"`training.batch_size: {batch // 2}` with `training.gradient_accumulation_steps: {accumulation * 2}` "
            "learns the same with less memory"
            if batch % 2 == 0
            else "use a smaller `training.batch_size`"
        )
        return ResourceError(
            f"not enough memory for batch_size {batch} (accumulation {accumulation}) "
            f"at context_length {self.plan.context_length}",
            hint=smaller,
        )

    def _micro_batches(self, done_steps: int) -> list[Batch]:
        """This process's share of the next step's rows; which rows a step has depends on nothing but its number."""
        training = self.config.training
        first = done_steps * self.plan.rows_per_step
        share = training.batch_size // self.ranks.world_size
        starts = [
            first + micro * training.batch_size + self.ranks.rank * share
            for micro in range(training.gradient_accumulation_steps)
        ]
        return [
            self.train_split.batch(
                range(start, start + share), context_length=self.plan.context_length, seed=training.seed
            )
            for start in starts
        ]

    def _agreed_stop(self) -> bool:
        """Whether any process was asked to stop: the same answer for all."""
        return bool(self.ranks.max_int(int(self._should_stop() is not None)))

    def _evaluation_due(self) -> bool:
        due = self.step % self.plan.eval_steps == 0 or self._is_last
        return due and self._evaluated_step != self.step

    def _evaluate(self) -> Generator[Event, None, bool]:
        """Evaluate and keep the best; returns whether a request to stop cut it short."""
        try:
            yield from self._evaluate_and_keep_best()
        except _StopRequestedError:
            return True
        return False

    def _evaluate_and_keep_best(self) -> Iterator[Event]:
        metrics = evaluate(
            self.model,
            self.val_split,
            self._byte_lengths_V,
            max_tokens=self.config.evaluation.max_tokens,
            ranks=self.ranks,
            progress=self._poll_stop if self.ranks.world_size == 1 else None,
        )
        self._evaluated_step = self.step
        best = self.stopping.take(metrics, self.step)
        yield self._eval_done("val", metrics, best)
        if best:
            yield from self._save(BEST)
        generation = self.config.evaluation.generation
        if generation.enabled and self.ranks.is_first:
            yield from draw_samples(
                self.model, self.dataset.tokenizer, generation, seed=self.config.training.seed, step=self.step
            )

    def _poll_stop(self, done: int, total: int) -> None:
        """Between two batches of an evaluation; the step's evaluation is then made up for after the resume."""
        if done < total and self._should_stop() is not None:
            raise _StopRequestedError

    def _save(self, name: str) -> Iterator[Event]:
        """Write a checkpoint; every process waits for the first, which alone writes."""
        if not self._weights_are_finite():
            yield from self._diverge("the weights are not finite")
        window = self.meter.window()
        if self.ranks.is_first:
            path = self.run_dir / name
            size, seconds = checkpoints.timed_save(path, self._checkpoint(window))
            yield Saved(step=self.step, path=path, bytes=size, seconds=seconds)
        self.ranks.barrier()

    def _weights_are_finite(self) -> bool:
        norms = torch._foreach_norm(list(self.model.parameters()))
        return bool(torch.isfinite(torch.stack(norms)).all())

    def _checkpoint(self, window: dict[str, float]) -> Checkpoint:
        """The whole state of the run, at a step boundary."""
        scale = self._step_once.loss_scale
        header = {
            "config": self.config.model_dump(mode="json"),
            "step": self.step,
            "epoch": self.plan.epoch(self.step),
            "total_steps": self.plan.total_steps,
            "tokens": self.step * self.plan.tokens_per_step,
            "evaluated_step": self._evaluated_step,
            "best": self.stopping.best.to_dict(),
            "out_of_patience": self.stopping.out_of_patience,
            "open_window": window,
            "loss_scale": dataclasses.asdict(scale) if scale is not None else None,
            "train_seconds": self.meter.train_seconds,
            "elapsed_seconds": self.meter.elapsed_seconds,
            "dtype": self.device.dtype_name,
            "threads": torch.get_num_threads(),
            "dataset_sha256": self.dataset.sha256,
            "tokenizer_sha256": self.dataset.tokenizer.sha256,
            "conversations": self.dataset.conversations,
        }
        return Checkpoint(
            shape=self.shape,
            model=dict(self.model.state_dict()),
            tokenizer_proto=self.dataset.tokenizer.proto,
            header=header,
            optimizer=self.optimizer.state(),
        )

    def _log_due_for_divergence(self) -> bool:
        """On a CPU the answer is at hand after every step; elsewhere asking would stall the device."""
        return self.device.device.type == "cpu" or self.step % self.plan.log_steps == 0

    def _diverge(self, what: str) -> Iterator[Event]:
        yield self._ended("diverged")
        raise DivergedError(
            f"step {self.step}: {what} at learning rate {self.optimizer.learning_rate:g}; "
            "the weights on disk are finite",
            hint="lower `training.learning_rate`, then start again or resume from the last checkpoint",
        )

    def _started(self) -> RunStarted:
        return RunStarted(
            run_dir=self.run_dir,
            version=__version__,
            config_json=json.dumps(self.config.model_dump(mode="json")),
            parameters=self.shape.parameters(),
            train_tokens=self.train_split.tokens,
            tokens_per_step=self.plan.tokens_per_step,
            total_steps=self.plan.total_steps,
            first_step=self.step + 1,
            total_epochs=self.plan.total_epochs,
            device=self.device.name,
            dtype=self.device.dtype_name,
            seed=self.config.training.seed,
        )

    def _step_done(self) -> StepDone:
        loss, grad_norm, rate = self.meter.read()
        self.meter.start()
        return StepDone(
            step=self.step,
            epoch=self.plan.epoch(self.step),
            tokens=self.step * self.plan.tokens_per_step,
            loss=loss,
            learning_rate=self.optimizer.learning_rate,
            grad_norm=grad_norm,
            tokens_per_second=rate,
            train_seconds=self.meter.train_seconds,
            elapsed_seconds=self.meter.elapsed_seconds,
        )

    def _eval_done(self, split: str, metrics: Metrics, best: bool) -> EvalDone:
        return EvalDone(
            step=self.step,
            split=split,
            loss=metrics.loss,
            bits_per_byte=metrics.bits_per_byte,
            accuracy=metrics.accuracy,
            tokens=metrics.tokens,
            train_seconds=self.meter.train_seconds,
            elapsed_seconds=self.meter.elapsed_seconds,
            best=best,
        )

    def _ended(self, reason: str) -> RunEnded:
        best = self.stopping.best
        return RunEnded(reason=reason, step=self.step, best_loss=best.loss, best_step=best.step)


def plan_run(config: Config, dataset: PreparedDataset, *, world_size: int = 1) -> RunPlan:
    """The plan for this config on this dataset, without building anything.

    Raises:
        ConfigError: the batch cannot be shared out, or sizes are missing.
    """
    context = resolve(config.model, dataset.tokenizer.vocab_size).context_length
    return make_plan(
        config.training,
        context_length=context,
        rows_per_epoch=dataset.split("train").rows_per_epoch(context),
        world_size=world_size,
    )
