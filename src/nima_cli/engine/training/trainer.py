"""The training loop as an iterator of events: it trains, evaluates, draws samples and saves."""

import dataclasses
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.checkpoint.files import BEST, LAST, checkpoint_files
from nima_cli.engine.checkpoint.header import step_of
from nima_cli.engine.data.store.dataset import PreparedDataset
from nima_cli.engine.device import Device
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.distributed.ranks import SINGLE, Ranks
from nima_cli.engine.training.evaluator import Metrics, evaluate
from nima_cli.engine.training.meter import PATIENCE
from nima_cli.engine.training.planning.out_of_memory import describe_micro_batches, explained
from nima_cli.engine.training.reports import diverged, draw_samples, run_started
from nima_cli.engine.training.resume.saver import Saver
from nima_cli.engine.training.run_spec import RunSpec
from nima_cli.engine.training.state import RunState
from nima_cli.errors import CheckpointError, ResourceError
from nima_cli.events import EvalDone, Event, Note, Progress, RolledBack, RunEnded, StepDone


class _StopRequestedError(Exception):
    """A request to stop came during an evaluation."""


class Trainer:
    """One process's part of one run.

    Args:
        run_dir: an existing folder that is this run's alone.
        resume: a checkpoint of this run to go on from.
        init_from: a checkpoint whose weights to start a new run with.
        micro_batches: the fewest to compute each batch in.
        recompute: whether layers are computed twice.
        should_stop: polled at every step; a reason (`INT`, `TERM`) ends the run after a save.
        should_save: polled at every step.
    """

    def __init__(
        self,
        spec: RunSpec,
        dataset: PreparedDataset,
        run_dir: Path,
        device: Device,
        *,
        resume: Checkpoint | None = None,
        init_from: Checkpoint | None = None,
        ranks: Ranks = SINGLE,
        micro_batches: int = 1,
        recompute: bool = False,
        kernels: Kernels | None = None,
        should_stop: Callable[[], str | None] = lambda: None,
        should_save: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config, self.plan = spec.config, spec.plan
        self.dataset, self.run_dir, self.device, self.ranks = dataset, run_dir, device, ranks
        self._should_stop, self._should_save, self._stop = should_stop, should_save, False
        self._val_split = dataset.split("val")
        self._make_state = partial(
            RunState,
            spec,
            dataset,
            device,
            ranks,
            micro_batches=micro_batches,
            recompute=recompute,
            kernels=kernels,
        )
        self.state = self._make_state(resume=resume, init_from=init_from)
        self._saver = Saver(run_dir, keep=self.config.training.save_total_limit, step=self.state.step)
        self._init_from = init_from if self.config.training.max_rollbacks else None
        self._skipped_told = self.state.meter.skipped

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.state.step

    @property
    def model(self) -> GPT:
        """The model in training."""
        return self.state.model

    def run(self) -> Iterator[Event]:
        """Train to the end of the plan, early stopping, or a request to stop.

        Raises:
            DivergedError: too many steps in a row were not finite; what is on disk is finite.
            ResourceError: the newest checkpoint could not be written; raised after the last event.
        """
        yield run_started(self.state, self.run_dir)
        yield from (Note("warning", note) for note in self.plan.notes)
        if self.state.extends:
            yield Note("info", f"the schedule is laid over {self.plan.total_steps} steps from step {self.step} on")
        yield from self._finish_last_part()
        self.state.meter.start()
        while not self._is_over:
            yield from self._take_step()
            save = self._poll_requests() or self.step % self.plan.save_steps == 0
            if not self._stop and self._evaluation_due:
                with self.state.meter.paused():
                    yield from self._evaluate_and_save(last=save)
            elif save or self._is_over:
                with self.state.meter.paused():
                    yield from self._save(LAST)
        patient = not self.state.stopping.out_of_patience
        yield self._ended("interrupted" if self._stop else "completed" if patient else "early_stopped")
        if self.ranks.is_first:
            self._saver.require(self.step)

    @property
    def _is_over(self) -> bool:
        return self._stop or self.state.stopping.out_of_patience or self.step >= self.plan.total_steps

    @property
    def _evaluation_due(self) -> bool:
        due = self.step % self.plan.eval_steps == 0 or self.step >= self.plan.total_steps
        return due and self.state.evaluated_step != self.step

    def _finish_last_part(self) -> Iterator[Event]:
        """Make up for the evaluation or the last save that a stopped or killed process left undone."""
        if self.step and self._evaluation_due:
            yield from self._evaluate_and_save(last=True)
        elif self._is_over and self.ranks.max_int(int(self.ranks.is_first and self._saver.is_behind(self.step))):
            yield from self._save(LAST)

    def _take_step(self) -> Iterator[Event]:
        """Take one optimizer step and report it; roll back or end when the run diverges."""
        micro_batches, recompute = self.state.train_step.micro_batches, self.state.train_step.recompute
        self.dataset.verification.require()
        self.state.take_step()
        if self.state.train_step.micro_batches > micro_batches:
            smaller = describe_micro_batches(self.plan, self.ranks.world_size, self.state.train_step.micro_batches)
            yield Note("warning", f"step {self.step}: not enough memory: {smaller}")
        if self.state.train_step.recompute and not recompute:
            told = "the layers are computed twice from now on, a third slower"
            yield Note("warning", f"step {self.step}: not enough memory: {told}")
        yield Progress("training", self.step, self.plan.total_steps, "steps")
        logged = self.step % self.plan.log_steps == 0
        if logged or self.step >= self.plan.total_steps:
            yield self._step_done()
        if logged or self.device.device.type == "cpu":  # elsewhere asking after every step would stall the device
            yield from self._look_for_divergence()

    def _step_done(self) -> StepDone:
        state = self.state
        loss, grad_norm, rate = state.meter.read()
        return StepDone(
            step=state.step,
            epoch=self.plan.epoch(state.step),
            tokens=state.step * self.plan.tokens_per_step,
            loss=loss,
            learning_rate=state.optimizer.learning_rate,
            grad_norm=grad_norm,
            tokens_per_second=rate,
            train_seconds=state.meter.train_seconds,
            elapsed_seconds=state.meter.elapsed_seconds,
            skipped_steps=state.meter.skipped,
        )

    def _poll_requests(self) -> bool:
        """Agree with all processes on whether to stop; returns whether to save."""
        request = self.ranks.max_int(2 if self._should_stop() is not None else int(self._should_save()))
        self._stop = request == 2
        return request == 1

    def _poll_stop(self) -> bool:
        self._stop = bool(self.ranks.max_int(int(self._should_stop() is not None)))
        return self._stop

    def _evaluate_and_save(self, *, last: bool) -> Iterator[Event]:
        """Evaluate, save (`last`: not only a best), and only then draw samples, which may take long."""
        before = self.state.stopping.best
        try:
            best = yield from self._evaluate()
        except _StopRequestedError:
            yield from self._save(LAST)
            return
        last = last or self._is_over
        saved = best and (yield from self._save(BEST))
        if best and not saved:
            self.state.stopping.best = dataclasses.replace(before, waited=0)  # what the file on disk holds
        if last:
            yield from self._save(LAST, is_best=saved)
        yield from self._write_samples()
        if not self._is_over and self._poll_stop() and not last:
            yield from self._save(LAST)

    def _evaluate(self) -> Generator[Event, None, bool]:
        """Report an evaluation before anything is saved, so that a resume does not repeat it; returns whether best.

        Raises:
            _StopRequestedError: a request to stop cut it short.
        """
        state, measured = self.state, {"val": self._measure()}
        if state.ema is not None:
            with state.ema.applied():
                measured["val_ema"] = self._measure()
        better = min(measured, key=lambda split: measured[split].loss)
        train_loss = state.meter.read_evaluation_window()
        state.inference_weights = "ema" if better == "val_ema" else "model"
        counts = not self.plan.schedule.before_decay(self.step)
        best = state.stopping.take(measured[better], self.step, train_loss=train_loss, counts=counts)
        state.evaluated_step = self.step
        for split, metrics in measured.items():
            yield EvalDone(
                step=self.step,
                split=split,
                loss=metrics.loss,
                bits_per_byte=metrics.bits_per_byte,
                accuracy=metrics.accuracy,
                tokens=metrics.tokens,
                train_seconds=state.meter.train_seconds,
                elapsed_seconds=state.meter.elapsed_seconds,
                best=best and split == better,
                train_loss=train_loss,
            )
        self.ranks.barrier()  # the first one draws plots of it, however long that takes
        return best

    def _measure(self) -> Metrics:
        hint = "use a smaller model or `model.context_length`"
        with explained(ResourceError(f"step {self.step}: not enough memory to evaluate the model", hint=hint)):
            return evaluate(
                self.model,
                self._val_split,
                self.dataset.tokenizer.byte_lengths(),
                context_length=self.plan.context_length,
                max_tokens=self.config.evaluation.max_tokens,
                ranks=self.ranks,
                progress=self._stop_evaluation,
            )

    def _stop_evaluation(self, done: int, total: int) -> None:
        """Cut an evaluation short between two batches; a resume repeats the whole."""
        if done < total and self._poll_stop():
            raise _StopRequestedError

    def _write_samples(self) -> Iterator[Event]:
        if self.config.evaluation.generation.enabled and self.ranks.is_first:
            yield from draw_samples(self.state, should_stop=lambda: self._should_stop() is not None)
        self.ranks.barrier()

    def _save(self, name: str, *, is_best: bool = False) -> Generator[Event, None, bool]:
        """Let the first process write a checkpoint, or link the last to `is_best`; returns whether it is on disk."""
        if not self.state.weights_are_finite():
            yield from self._diverge("the weights are not finite")
        checkpoint = None if is_best else self.state.checkpoint()
        failed = False
        if self.ranks.is_first:
            told = self._saver.best_is_last() if checkpoint is None else self._saver.save(name, checkpoint)
            failed = isinstance(told, Note)
            yield told
        self.ranks.barrier()
        return not self.ranks.max_int(int(failed), slow=True)

    def _look_for_divergence(self) -> Iterator[Event]:
        """Report skipped steps; after too many in a row, roll back as often as allowed, then raise."""
        skipped, scale = self.state.meter.skipped, self.state.train_step.loss_scale
        if skipped > self._skipped_told:
            self._skipped_told = skipped
            level, now = ("warning", "") if scale is None else ("info", f"; loss scale {scale.value:g}")
            what = "the loss or gradient was not finite: step skipped"
            yield Note(level, f"step {self.step}: {what}, {skipped} so far{now}")
        if not self.state.is_diverged:
            return
        how = "in float16 at any loss scale" if scale is not None else f"{PATIENCE} times in a row"
        what = f"the loss or gradient was not finite {how}"
        if self.state.rollbacks < self.config.training.max_rollbacks:
            yield from self._roll_back(what)
        else:
            yield from self._diverge(what, steps=PATIENCE)

    def _roll_back(self, what: str) -> Iterator[Event]:
        """Go back to the last good checkpoint, or to the start, with half the learning rate; deterministic."""
        failed, rollbacks = self.step, self.state.rollbacks + 1
        try:
            checkpoint, init_from = checkpoints.newest_valid(self.run_dir)[1], None
        except CheckpointError:
            checkpoint, init_from = None, self._init_from
        del self.state  # two models at a time may not fit
        self.state = self._make_state(resume=checkpoint, init_from=init_from, rollbacks=rollbacks)
        self._skipped_told = self.state.meter.skipped
        yield RolledBack(self.step)
        yield Note(
            "warning",
            f"step {failed}: {what}: back to step {self.step}, with the learning rate times {0.5**rollbacks:g} "
            f"(rollback {rollbacks} of {self.config.training.max_rollbacks})",
        )
        self.state.meter.start()

    def _diverge(self, what: str, steps: int = 1) -> Iterator[Event]:
        """Raise what ends the run, naming the last `steps` steps and the newest checkpoint."""
        on_disk = [step for step in map(step_of, checkpoint_files(self.run_dir)) if step is not None]
        error = diverged(self.state, what, steps=steps, good=max(on_disk, default=None))
        yield self._ended("diverged")
        raise error

    def _ended(self, reason: str) -> RunEnded:
        best = self.state.stopping.best
        return RunEnded(reason=reason, step=self.step, best_loss=best.loss, best_step=best.step)
