"""The learning rate as a pure function of the step."""

import math
from dataclasses import dataclass

WSD_COOLDOWN = 0.6  # share of the run over which warmup-stable-decay comes down (Hägele et al., 2405.18392)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up to `peak`, then a shape that reaches `minimum` one step after the last, so that none is wasted.

    `kind` is `cosine` (1608.03983), `wsd` (2404.06395), `linear` or `constant`.
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
        return self.minimum + (self.peak - self.minimum) * self._shape(step)

    def before_decay(self, step: int) -> bool:
        """Whether the rate rises or holds before it falls: until then large steps hide what is learnt."""
        return step <= self.warmup_steps or (self.kind == "wsd" and self._shape(step) == 1.0)

    def _shape(self, step: int) -> float:
        """Share of the peak left at a step after the warm-up."""
        progress = min(1.0, (step - self.warmup_steps - 1) / max(1, self.total_steps - self.warmup_steps))
        return {
            "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
            "linear": 1.0 - progress,
            "wsd": min(1.0, (1.0 - progress) / WSD_COOLDOWN),
            "constant": 1.0,
        }[self.kind]
