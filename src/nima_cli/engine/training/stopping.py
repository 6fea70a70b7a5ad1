"""Which evaluation is the best, and when patience has run out."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from nima_cli.config.schema import METRIC_MODES, EarlyStoppingConfig
from nima_cli.engine.training.evaluator import Metrics
from nima_cli.events import perplexity


@dataclass(slots=True)
class Best:
    """The best evaluation so far: the watched metric's value, the loss, and how many that count have passed since."""

    value: float | None = None
    loss: float = math.inf
    step: int = 0
    waited: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON: no infinity."""
        return {**asdict(self), "loss": self.loss if math.isfinite(self.loss) else None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Best":
        """Read what `to_dict` gave."""
        loss, (step, waited) = values.get("loss"), (int(values.get(key, 0)) for key in ("step", "waited"))
        return cls(values.get("value"), math.inf if loss is None else float(loss), step, waited)


class EarlyStopping:
    """Takes evaluations, remembers the best, says when patience has run out."""

    def __init__(self, config: EarlyStoppingConfig, best: Best | None = None) -> None:
        self.config, self.best = config, best or Best()

    def take(self, metrics: Metrics, step: int, *, train_loss: float = math.nan, counts: bool = True) -> bool:
        """Whether this evaluation is the best so far and finite; if not, and it `counts`, it uses up patience.

        Args:
            train_loss: mean over the steps since the evaluation before.
        """
        value = {
            "val_loss": metrics.loss,
            "val_perplexity": perplexity(metrics.loss),
            "val_bits_per_byte": metrics.bits_per_byte,
            "val_accuracy": metrics.accuracy,
            "train_loss": train_loss,
            "train_perplexity": perplexity(train_loss),
        }[self.config.metric]
        improves = self.best.value is None
        if self.best.value is not None:
            lower_is_better = (self.config.mode or METRIC_MODES[self.config.metric]) == "min"
            gain = self.best.value - value if lower_is_better else value - self.best.value
            improves = gain > self.config.min_delta
        if not math.isfinite(value) or not improves:
            self.best.waited += int(counts)
            return False
        self.best = Best(value=value, loss=metrics.loss, step=step)
        return True

    @property
    def out_of_patience(self) -> bool:
        """Whether the run should end now."""
        return self.config.enabled and self.best.waited >= self.config.patience
