"""The state that a view of training keeps between events, and the phrases in which it is told."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from nima_cli.events import EvalDone, Event, Progress, RunEnded, RunStarted, SampleDrawn, StepDone, perplexity
from nima_cli.ui import formatting
from nima_cli.ui.console import command

_SOURCES = 4
_REASONS = {
    "completed": "done",
    "early_stopped": "stopped early, validation no longer improves",
    "interrupted": "interrupted",
    "diverged": "diverged",
}


@dataclass(slots=True)
class TrainState:
    """The run so far, as this process saw it; `began`, `first_step_at` and `last_at` are times of the view's clock."""

    started: RunStarted | None = None
    first: StepDone | None = None
    last: StepDone | None = None
    step: int = 0
    began: float = 0.0
    first_step_at: float | None = None
    last_at: float = 0.0
    evals: list[EvalDone] = field(default_factory=list)
    best: EvalDone | None = None
    sample: SampleDrawn | None = None

    def take(self, event: Event, now: float = 0.0) -> None:
        match event:
            case RunStarted():
                self.started, self.step, self.began = event, event.first_step - 1, now
            case Progress():
                self.step = event.done
                self.first_step_at = now if self.first_step_at is None else self.first_step_at
            case StepDone():
                self.first = self.first or event
                self.last, self.step, self.last_at = event, event.step, now
            case EvalDone():
                self.evals.append(event)
                self.best = event if event.best else self.best
            case SampleDrawn():
                self.sample = event

    @property
    def total_steps(self) -> int:
        return self.started.total_steps if self.started else 0

    def epoch_at(self, step: int) -> float:
        """Passes over the train split after `step` optimizer steps."""
        return self.started.total_epochs * step / max(1, self.total_steps) if self.started else math.nan

    def elapsed(self, now: float) -> float:
        """Seconds since the run began, over all resumes once the first figures are known."""
        return now - self.began if self.last is None else self.last.elapsed_seconds + now - self.last_at

    def eta(self, now: float = 0.0) -> float:
        """Seconds to the last step at the pace of this process; infinite while that is unknown."""
        if self.started is None:
            return math.inf
        if self.first and self.last and self.last.step > self.first.step:
            seconds, steps = self.last.elapsed_seconds - self.first.elapsed_seconds, self.last.step - self.first.step
        elif self.last and self.last.tokens_per_second > 0:
            seconds, steps = self.started.tokens_per_step / self.last.tokens_per_second, 1
        elif self.first_step_at is not None and self.step > self.started.first_step:
            seconds, steps = now - self.first_step_at, self.step - self.started.first_step
        else:
            return math.inf
        return (self.total_steps - self.step) * seconds / steps

    def first_figures(self) -> int:
        """The step at which the first loss is known."""
        if self.started is None:
            return 0
        every = json.loads(self.started.config_json).get("training", {}).get("log_steps", 1)
        return int(min(-(-self.started.first_step // every) * every, self.total_steps))


def data_line(started: RunStarted) -> str:
    """`data/mine (docs 97.4%, faq 2.6%)`."""
    ranked = sorted(started.sources, key=lambda source: -source[1])
    if len(ranked) == 1:
        return f"{started.data} ({ranked[0][0]})"
    names = [f"{name} {share:.1%}" for name, share in ranked[:_SOURCES]]
    names += [f"{len(ranked) - _SOURCES} more"] if len(ranked) > _SOURCES else []
    return f"{started.data} ({', '.join(names)})"


def run_facts(started: RunStarted) -> list[str]:
    """The headline facts of a run, each short enough to stay on one line."""
    model = json.loads(started.config_json).get("model", {})
    preset = model.get("preset") or model.get("pretrained") or "custom"
    return [
        f"{preset}, {formatting.count(started.parameters)} parameters",
        f"{formatting.count(started.train_tokens)} training tokens",
        f"{started.total_steps} steps of {formatting.count(started.tokens_per_step)} tokens",
        f"{started.device} {started.dtype}, {started.compiled}",
        f"seed {started.seed}",
    ]


def step_facts(step: StepDone) -> list[str]:
    return [
        f"loss {formatting.loss(step.loss)}",
        f"perplexity {formatting.ratio(perplexity(step.loss))}",
        f"lr {formatting.rate(step.learning_rate)}",
        f"grad norm {step.grad_norm:.2f}",
        f"{formatting.count(step.tokens_per_second)} tokens/s",
    ]


def eval_facts(event: EvalDone) -> list[str]:
    return [
        f"{event.split} loss {formatting.loss(event.loss)}",
        f"perplexity {formatting.ratio(perplexity(event.loss))}",
        f"{event.bits_per_byte:.3f} bits/byte",
        f"accuracy {event.accuracy:.1%}",
    ]


def ending(event: RunEnded) -> str:
    """One line that says how a run ended."""
    best = f"; best val loss {formatting.loss(event.best_loss)} at step {event.best_step}"
    return f"{_REASONS[event.reason]} at step {event.step}{best if math.isfinite(event.best_loss) else ''}"


def next_step(event: RunEnded, run_dir: Path) -> str | None:
    """A hint what to do next; None for a run that diverged, since its error says it."""
    if event.reason == "diverged":
        return None
    if event.reason == "interrupted":
        return f"go on with {command('nima', 'train', '--resume', run_dir)}"
    measure, talk = (command("nima", name, "--checkpoint", run_dir) for name in ("eval", "chat"))
    return f"measure it with {measure}, talk to it with {talk}"
