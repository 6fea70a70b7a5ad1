"""What a view of training remembers between events, and the sentences it is told in; draws nothing."""

import json
import math
from dataclasses import dataclass, field

from nima_cli.events import EvalDone, Event, Progress, RunEnded, RunStarted, SampleDrawn, StepDone, perplexity
from nima_cli.ui import quantities

REASONS = {
    "completed": "done",
    "early_stopped": "stopped early, validation no longer improves",
    "interrupted": "interrupted",
    "diverged": "diverged",
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation beside where training stood at that step."""

    event: EvalDone
    epoch: float
    train_loss: float


@dataclass(slots=True)
class TrainState:
    """The run so far, as this process saw it."""

    started: RunStarted | None = None
    first: StepDone | None = None
    last: StepDone | None = None
    step: int = 0
    evals: list[Evaluation] = field(default_factory=list)
    best: EvalDone | None = None
    sample: SampleDrawn | None = None

    def take(self, event: Event) -> None:
        """Remember what later lines need."""
        match event:
            case RunStarted():
                self.started = event
                self.step = event.first_step - 1
            case Progress():
                self.step = event.done
            case StepDone():
                self.first = self.first or event
                self.last = event
                self.step = event.step
            case EvalDone():
                train_loss = self.last.loss if self.last else math.nan
                self.evals.append(Evaluation(event, self.epoch_at(event.step), train_loss))
                self.best = event if event.best else self.best
            case SampleDrawn():
                self.sample = event

    @property
    def total_steps(self) -> int:
        """The optimizer steps that the whole run will have."""
        return self.started.total_steps if self.started else 0

    def epoch_at(self, step: int) -> float:
        """How many passes over the train split `step` optimizer steps make."""
        return self.started.total_epochs * step / max(1, self.total_steps) if self.started else math.nan

    def eta(self) -> float:
        """Seconds to the last step, from the pace since this process's first step; infinite while it is unknown."""
        if self.started is None or self.first is None or self.last is None:
            return math.inf
        left = self.total_steps - self.step
        steps = self.last.step - self.first.step
        if steps > 0:
            return left * (self.last.elapsed_seconds - self.first.elapsed_seconds) / steps
        if self.last.tokens_per_second > 0:
            return left * self.started.tokens_per_step / self.last.tokens_per_second
        return math.inf


def model_name(started: RunStarted) -> str:
    """The preset of the run, or `custom`."""
    model = json.loads(started.config_json).get("model", {})
    return str(model.get("preset") or "custom")


def facts(started: RunStarted) -> list[str]:
    """The headline facts of a run, each short enough to stay on one line."""
    return [
        f"{model_name(started)}, {quantities.count(started.parameters)} parameters",
        f"{quantities.count(started.train_tokens)} training tokens",
        f"{started.total_steps} steps of {quantities.count(started.tokens_per_step)} tokens",
        f"{started.device} {started.dtype}, {started.compiled}",
        f"seed {started.seed}",
    ]


def step_facts(step: StepDone) -> list[str]:
    """The numbers of a training step."""
    return [
        f"loss {quantities.loss(step.loss)}",
        f"ppl {quantities.ratio(perplexity(step.loss))}",
        f"lr {quantities.rate(step.learning_rate)}",
        f"grad norm {step.grad_norm:.2f}",
        f"{quantities.count(step.tokens_per_second)} tokens/s",
    ]


def eval_facts(event: EvalDone) -> list[str]:
    """The numbers of an evaluation."""
    return [
        f"{event.split} loss {quantities.loss(event.loss)}",
        f"ppl {quantities.ratio(perplexity(event.loss))}",
        f"{event.bits_per_byte:.3f} bits/byte",
        f"accuracy {quantities.percent(event.accuracy)}",
    ]


def ending(event: RunEnded) -> str:
    """One line that says how a run ended."""
    best = f"; best val loss {quantities.loss(event.best_loss)} at step {event.best_step}"
    return f"{REASONS[event.reason]} at step {event.step}{best if math.isfinite(event.best_loss) else ''}"
