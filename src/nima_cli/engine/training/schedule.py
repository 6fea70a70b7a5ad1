"""The learning rate as a pure function of the step."""

import math
from dataclasses import dataclass

WSD_COOLDOWN = 0.6  # share of the run over which warmup-stable-decay comes down (Hägele et al., 2405.18392)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up, then a shape that reaches `minimum` as the run ends (one step after the last, so none is wasted).

    Attributes:
        kind: `cosine` (1608.03983), `wsd` (2404.06395), `linear` or `constant`.
        peak: learning rate after the warm-up.
        warmup_steps: steps to reach it; may be 0.
        total_steps: length of the run.
    """

    kind: str
    peak: float
    minimum: float
    warmup_steps: int
    total_steps: int

    def __call__(self, step: int) -> float:
        """Learning rate of optimizer step `step`; the first step is 1."""
        if step <= self.warmup_steps:
            return self.peak * step / (self.warmup_steps + 1)
        return self.minimum + (self.peak - self.minimum) * self._shape(self._progress(step))

    def before_decay(self, step: int) -> bool:
        """Whether the rate has yet to begin to fall: until then the noise of large steps hides what has been learnt.

        False after the warm-up of a constant rate, which never falls.
        """
        if step <= self.warmup_steps:
            return True
        return self.kind == "wsd" and self._shape(self._progress(step)) == 1.0

    def _progress(self, step: int) -> float:
        """0 after warm-up, 1 at the end."""
        return min(1.0, (step - self.warmup_steps - 1) / max(1, self.total_steps - self.warmup_steps))

    def _shape(self, progress: float) -> float:
        """Share of the peak left at `progress`."""
        if self.kind == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * progress))
        if self.kind == "linear":
            return 1.0 - progress
        if self.kind == "wsd":
            return min(1.0, (1.0 - progress) / WSD_COOLDOWN)
        assert self.kind == "constant", self.kind
        return 1.0
