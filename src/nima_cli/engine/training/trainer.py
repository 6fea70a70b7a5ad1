"""The training loop as an iterator of events: it trains, evaluates, samples and saves, and shows nothing itself."""

import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import torch

from nima_cli import __version__
from nima_cli.config.schema import Config
from nima_cli.engine import checkpoint as checkpoints
from nima_cli.engine.checkpoint import BEST, LAST, Checkpoint
from nima_cli.engine.data.dataset import Batch, PreparedDataset
from nima_cli.engine.device import Device
from nima_cli.engine.training.evaluator import Metrics, evaluate
from nima_cli.engine.training.ranks import SINGLE, Ranks
from nima_cli.engine.training.samples import draw_samples
from nima_cli.engine.training.state import RunState
from nima_cli.errors import DivergedError, ResourceError
from nima_cli.events import EvalDone, Event, Note, Progress, RunEnded, RunStarted, Saved, StepDone


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
        self.state = RunState(config, dataset, device, ranks, resume=resume, init_from=init_from)
        self.plan, self.meter, self.stopping = self.state.plan, self.state.meter, self.state.stopping
        self.model, self.optimizer = self.state.model, self.state.optimizer
        self._train_split, self._val_split = dataset.split("train"), dataset.split("val")

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.state.step

    def run(self) -> Iterator[Event]:
        """Train to the end of the plan, early stopping, or a request to stop.

        Raises:
            DivergedError: too many steps in a row were not finite; what is on disk is finite.
            ResourceError: a checkpoint could not be written.
        """
        yield self._started()
        for note in self.plan.notes:
            yield Note("warning", note)
        if self.state.extends:
            yield Note("info", f"the schedule is laid over {self.plan.total_steps} steps from step {self.step} on")
        stop = False
        if self.step and self._evaluation_due():  # the last part was stopped before it could evaluate
            stop = yield from self._evaluate()
            yield from self._save(LAST)
        self.meter.start()
        while not self._is_over(stop):
            self._train_one_step()
            yield Progress("training", self.step, self.plan.total_steps, "steps")
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
            outcome = self.state.train_step(batches, step=self.step + 1, learning_rate=learning_rate)
        except RuntimeError as error:  # torch's own kind on a GPU, a plain RuntimeError from the CPU's allocator
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise self._out_of_memory() from error
            raise
        self.state.step += 1
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
            self._train_split.batch(
                range(start, start + share), context_length=self.plan.context_length, seed=training.seed
            )
            for start in starts
        ]

    def _agreed_stop(self) -> bool:
        """Whether any process was asked to stop: the same answer for all."""
        return bool(self.ranks.max_int(int(self._should_stop() is not None)))

    def _evaluation_due(self) -> bool:
        due = self.step % self.plan.eval_steps == 0 or self._is_last
        return due and self.state.evaluated_step != self.step

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
            self._val_split,
            self.dataset.tokenizer.byte_lengths(),
            max_tokens=self.config.evaluation.max_tokens,
            ranks=self.ranks,
            progress=self._poll_stop if self.ranks.world_size == 1 else None,
        )
        self.state.evaluated_step = self.step
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
        if not self.state.weights_are_finite():
            yield from self._diverge("the weights are not finite")
        checkpoint = self.state.checkpoint()
        if self.ranks.is_first:
            path = self.run_dir / name
            size, seconds = checkpoints.timed_save(path, checkpoint)
            yield Saved(step=self.step, path=path, bytes=size, seconds=seconds)
        self.ranks.barrier()

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
            parameters=self.state.shape.parameters(),
            train_tokens=self._train_split.tokens,
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
