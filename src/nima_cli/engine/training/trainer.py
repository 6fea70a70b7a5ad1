"""The training loop as an iterator of events: it trains, evaluates, samples and saves, and shows nothing itself."""

import dataclasses
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from nima_cli.config.schema import Config
from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.checkpoint.files import BEST, LAST
from nima_cli.engine.data.store.dataset import PreparedDataset
from nima_cli.engine.device import Device
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.distributed.ranks import SINGLE, Ranks
from nima_cli.engine.training.divergence import describe_rows, diverged
from nima_cli.engine.training.evaluator import Metrics, evaluate
from nima_cli.engine.training.meter import PATIENCE
from nima_cli.engine.training.optim import Optimizer
from nima_cli.engine.training.planning.memory import describe_pieces, explained, no_room_to_evaluate
from nima_cli.engine.training.planning.plan import RunPlan
from nima_cli.engine.training.reports import eval_done, run_ended, run_started, step_done
from nima_cli.engine.training.resume.saver import Saver
from nima_cli.engine.training.samples import draw_samples
from nima_cli.engine.training.state import RunState
from nima_cli.errors import CheckpointError
from nima_cli.events import Event, Note, Progress, RolledBack


class _StopRequestedError(Exception):
    """Someone asked to stop while an evaluation was under way."""


class Trainer:
    """One process's part of one run.

    Args:
        config: everything the user decided; the recipe fills in the rest.
        dataset: what to learn from.
        run_dir: where checkpoints go; it exists and is this run's alone.
        device: where and in which type to compute.
        resume: a checkpoint of this run to go on from.
        init_from: a checkpoint whose weights to start a new run with.
        ranks: this process's place among those that train together.
        parts: pieces to compute each micro-batch in, at least, because more does not fit into memory.
        kernels: compiled for training on this processor; None is torch alone.
        should_stop: asked at every step; a reason (`INT`, `TERM`) ends the run after a save.
        should_save: asked at every step; true saves and goes on.
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
        parts: int = 1,
        kernels: Kernels | None = None,
        should_stop: Callable[[], str | None] = lambda: None,
        should_save: Callable[[], bool] = lambda: False,
    ) -> None:
        self.dataset, self.run_dir, self.device, self.ranks = dataset, run_dir, device, ranks
        self._should_stop, self._should_save = should_stop, should_save
        self._parts, self._kernels = parts, kernels
        self.state = RunState(
            config, dataset, device, ranks, resume=resume, init_from=init_from, parts=parts, kernels=kernels
        )
        self.config = self.state.config
        self._saver = Saver(run_dir, keep=config.training.save_total_limit, step=self.state.step)
        self._init_from = init_from if config.training.max_rollbacks else None
        self._train_split, self._val_split = dataset.split("train"), dataset.split("val")
        self._refused_told = self.state.meter.refused

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.state.step

    @property
    def model(self) -> GPT:
        """What is being trained."""
        return self.state.model

    @property
    def optimizer(self) -> Optimizer:
        """What steps it."""
        return self.state.optimizer

    @property
    def plan(self) -> RunPlan:
        """What the run will do."""
        return self.state.plan

    def run(self) -> Iterator[Event]:
        """Train to the end of the plan, early stopping, or a request to stop.

        Raises:
            DivergedError: too many steps in a row were not finite; what is on disk is finite.
            ResourceError: the newest checkpoint could not be written; told after the end.
        """
        yield run_started(self.state, self.run_dir)
        for note in self.plan.notes:
            yield Note("warning", note)
        if self.state.extends:
            yield Note("info", f"the schedule is laid over {self.plan.total_steps} steps from step {self.step} on")
        stop = False
        if self.step and self._evaluation_due():  # the last part was stopped before it could evaluate
            stop = yield from self._evaluate_and_save(last=True)
        elif self._is_over(stop) and self.ranks.max_int(int(self.ranks.is_first and self._saver.is_behind(self.step))):
            yield from self._save(LAST)  # the last part ended between the best and the last
        self.state.meter.start()
        while not self._is_over(stop):
            yield from self._train_one_step()
            stop = yield from self._between_steps()
        patient = not self.state.stopping.out_of_patience
        yield run_ended(self.state, "interrupted" if stop else "completed" if patient else "early_stopped")
        if self.ranks.is_first:
            self._saver.require(self.step)

    @property
    def _is_last(self) -> bool:
        return self.step >= self.plan.total_steps

    def _is_over(self, stop: bool) -> bool:
        return stop or self.state.stopping.out_of_patience or self._is_last

    def _train_one_step(self) -> Iterator[Event]:
        """One optimizer step and what there is to tell of it; one that diverges may take the run back."""
        parts = self.state.train_step.parts
        self.dataset.verification.require()
        self.state.take_step()
        if self.state.train_step.parts > parts:
            pieces = describe_pieces(self.plan, self.ranks.world_size, self.state.train_step.parts)
            yield Note("warning", f"step {self.step}: not enough memory: {pieces}")
        yield Progress("training", self.step, self.plan.total_steps, "steps")
        if self.step % self.plan.log_steps == 0 or self._is_last:
            yield step_done(self.state)
        if self._log_due_for_divergence():
            yield from self._look_for_divergence()

    def _between_steps(self) -> Generator[Event, None, bool]:
        """Evaluate and save as far as it is due; returns whether to stop."""
        stop, save = self._agreed_wishes()
        last = save or self.step % self.plan.save_steps == 0
        if not stop and self._evaluation_due():
            self.state.meter.pause()
            stop = yield from self._evaluate_and_save(last=last)
            self.state.meter.start()
        elif last or self._is_over(stop):
            self.state.meter.pause()
            yield from self._save(LAST)
            self.state.meter.start()
        return stop

    def _agreed_wishes(self) -> tuple[bool, bool]:
        """Whether any process was asked to stop, and whether to save: the same answer for all, in one message."""
        wish = self.ranks.max_int(2 if self._should_stop() is not None else int(self._should_save()))
        return wish == 2, wish == 1

    def _evaluation_due(self) -> bool:
        due = self.step % self.plan.eval_steps == 0 or self._is_last
        return due and self.state.evaluated_step != self.step

    def _evaluate_and_save(self, *, last: bool) -> Generator[Event, None, bool]:
        """Evaluate, save, and only then let the model write, which may take long; returns whether to stop.

        Args:
            last: save the last checkpoint whatever the evaluation finds.
        """
        before = self.state.stopping.best
        try:
            best = yield from self._evaluate()
        except _StopRequestedError:
            yield from self._save(LAST)
            return True
        last = last or self._is_over(stop=False)
        saved = best and (yield from self._save(BEST))
        if best and not saved:
            self.state.stopping.best = dataclasses.replace(before, waited=0)  # what the file on disk holds
        if last:
            yield from self._save(LAST, is_best=saved)
        yield from self._write_samples()
        stop = not self._is_over(stop=False) and self._stop_agreed()
        if stop and not last:
            yield from self._save(LAST)
        return stop

    def _evaluate(self) -> Generator[Event, None, bool]:
        """Evaluate and tell of it before anything is saved, so that a run that goes on from the file has told it once.

        Returns:
            Whether this is the best so far.

        Raises:
            _StopRequestedError: it was cut short.
        """
        metrics, averaged = self._measure(), None
        if self.state.ema is not None:
            with self.state.ema.applied():
                averaged = self._measure()
        train_loss = self.state.meter.since_evaluation()
        ema_is_better = averaged is not None and averaged.loss < metrics.loss
        self.state.inference_weights = "ema" if ema_is_better else "model"
        best = self.state.stopping.take(
            averaged if averaged and ema_is_better else metrics,
            self.step,
            train_loss=train_loss,
            counts=not self.plan.schedule.holds(self.step),
        )
        self.state.evaluated_step = self.step
        self.state.meter.evaluated()
        yield eval_done(self.state, "val", metrics, train_loss=train_loss, best=best and not ema_is_better)
        if averaged is not None:
            yield eval_done(self.state, "val_ema", averaged, train_loss=train_loss, best=best and ema_is_better)
        self.ranks.barrier()  # the first one draws plots of it, however long that takes
        return best

    def _write_samples(self) -> Iterator[Event]:
        generation = self.config.evaluation.generation
        if generation.enabled and self.ranks.is_first:
            yield from draw_samples(
                self.model,
                self.dataset.tokenizer,
                generation,
                seed=self.config.training.seed,
                step=self.step,
                should_stop=lambda: self._should_stop() is not None,
            )
        self.ranks.barrier()

    def _measure(self) -> Metrics:
        with explained(no_room_to_evaluate(self.step)):
            return evaluate(
                self.model,
                self._val_split,
                self.dataset.tokenizer.byte_lengths(),
                max_tokens=self.config.evaluation.max_tokens,
                ranks=self.ranks,
                progress=self._poll_stop,
            )

    def _poll_stop(self, done: int, total: int) -> None:
        """Between two batches of an evaluation; the step's evaluation is then made up for after the resume."""
        if done < total and self._stop_agreed():
            raise _StopRequestedError

    def _stop_agreed(self) -> bool:
        return bool(self.ranks.max_int(int(self._should_stop() is not None)))

    def _save(self, name: str, *, is_best: bool = False) -> Generator[Event, None, bool]:
        """Write a checkpoint; every process waits for the first, which alone writes.

        Args:
            is_best: the best was saved at this very step, and the last is the same file.

        Returns:
            Whether it is on disk.
        """
        if not self.state.weights_are_finite():
            yield from self._diverge("the weights are not finite")
        checkpoint = None if is_best else self.state.checkpoint()
        refused = False
        if self.ranks.is_first:
            told = self._saver.best_is_last() if checkpoint is None else self._saver.save(name, checkpoint)
            refused = isinstance(told, Note)
            yield told
        self.ranks.barrier()
        return not self.ranks.max_int(int(refused), patient=True)

    def _log_due_for_divergence(self) -> bool:
        """On a CPU the answer is at hand after every step; elsewhere asking would stall the device."""
        return self.device.device.type == "cpu" or self.step % self.plan.log_steps == 0

    def _look_for_divergence(self) -> Iterator[Event]:
        """Tell of refused steps; when there are too many in a row, go back as often as allowed, then end."""
        refused = self.state.meter.refused
        if refused > self._refused_told:
            self._refused_told = refused
            scale = self.state.train_step.loss_scale
            now = f"; loss scale {scale.value:g}" if scale is not None else ""
            yield Note(
                "warning" if scale is None else "info",
                f"step {self.step}: the loss or gradient was not finite: step skipped, {refused} so far{now}",
            )
        if not self.state.is_diverged:
            return
        scaled = self.state.train_step.loss_scale is not None
        how = "in float16 at any loss scale" if scaled else f"{PATIENCE} times in a row"
        what = f"the loss or gradient was not finite {how}"
        if self.state.rollbacks < self.config.training.max_rollbacks:
            yield from self._roll_back(what)
        else:
            yield from self._diverge(what, steps=PATIENCE)

    def _roll_back(self, what: str) -> Iterator[Event]:
        """Go back to the last good checkpoint, or to the start, with half the learning rate from there on.

        Deterministic: a process that dies on the way and is resumed takes the same turn again.
        """
        failed, rollbacks = self.step, self.state.rollbacks + 1
        checkpoint = self._last_good()
        init_from = self._init_from if checkpoint is None else None
        del self.state  # two models at a time may not fit
        self.state = RunState(
            self.config,
            self.dataset,
            self.device,
            self.ranks,
            resume=checkpoint,
            init_from=init_from,
            rollbacks=rollbacks,
            parts=self._parts,
            kernels=self._kernels,
        )
        self._refused_told = self.state.meter.refused
        yield RolledBack(self.step)
        yield Note(
            "warning",
            f"step {failed}: {what}: back to step {self.step}, with the learning rate times {0.5**rollbacks:g} "
            f"(rollback {rollbacks} of {self.config.training.max_rollbacks})",
        )
        self.state.meter.start()

    def _last_good(self) -> Checkpoint | None:
        try:
            return checkpoints.newest_valid(self.run_dir)[1]
        except CheckpointError:
            return None

    def _diverge(self, what: str, steps: int = 1) -> Iterator[Event]:
        """End the run, naming what a person needs to look into it: the last `steps` steps and what is left."""
        rows = describe_rows(
            self._train_split, self.plan, seed=self.config.training.seed, last_step=self.step, steps=steps
        )
        good = self._last_good()
        left = (
            "no checkpoint was saved" if good is None else f"the last good checkpoint is of step {good.header['step']}"
        )
        yield run_ended(self.state, "diverged")
        raise diverged(what, step=self.step, learning_rate=self.state.optimizer.learning_rate, rows=rows, left=left)
