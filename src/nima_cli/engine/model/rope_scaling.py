"""How a model stretches its rotary positions over texts longer than it was trained on; does not import torch."""

import math
from dataclasses import dataclass, fields
from typing import Any

KINDS = ("linear", "llama3", "yarn")


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """One of three published ways to change the rotary frequencies.

    `linear`: all divided by `factor` (Chen et al., 2306.15595). `llama3`: waves longer than the original context are,
    short ones are not, between them it is blended (Llama 3.1, 2407.21783). `yarn`: blended over the dimensions of a
    head, and attention sharpened (Peng et al., 2309.00071).

    Attributes:
        original_context: positions that the model was first trained with.
        low, high: of `llama3`, the waves in the original context below and above which a frequency is divided or kept;
            of `yarn`, the same as rotations (`beta_slow`, `beta_fast`).
        attention_factor: what cosines and sines are multiplied by.
    """

    kind: str
    factor: float
    original_context: int = 1
    low: float = 1.0
    high: float = 1.0
    attention_factor: float = 1.0

    @classmethod
    def from_dict(cls, values: Any) -> "RopeScaling":
        """Read a scaling from untrusted values; ValueError says what is wrong with them."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names or values["kind"] not in KINDS:
            raise ValueError(f"`rope_scaling` is not one of {', '.join(KINDS)} with its {len(names)} keys")
        for name in names - {"kind"}:
            if type(values[name]) not in (int, float) or not 0.0 < values[name] < 1e9:
                raise ValueError(f"`rope_scaling.{name}` is {values[name]!r}, expected a number above 0")
        if type(values["original_context"]) is not int or (values["kind"] == "llama3") > (
            values["low"] < values["high"]
        ):
            raise ValueError("`rope_scaling` has a context that is not an integer, or `low` is not below `high`")
        return cls(**values)

    def scaled(self, frequencies: list[float], theta: float) -> list[float]:
        """The frequencies `theta ** (-2 i / D)` of a head, in radians a position, scaled; their number is D / 2."""
        if self.kind == "linear":
            shares = [1.0] * len(frequencies)
        elif self.kind == "llama3":
            shares = [self._llama3_share(frequency) for frequency in frequencies]
        else:
            shares = self._yarn_shares(len(frequencies), theta)
        return [
            frequency / self.factor * share + frequency * (1.0 - share)
            for frequency, share in zip(frequencies, shares, strict=True)
        ]

    def _llama3_share(self, frequency: float) -> float:
        """How far a frequency is divided: 1 wholly, 0 not at all."""
        waves = self.original_context * frequency / (2 * math.pi)
        return 1.0 - min(1.0, max(0.0, (waves - self.low) / (self.high - self.low)))

    def _yarn_shares(self, count: int, theta: float) -> list[float]:
        """The same for `yarn`: a ramp between the dimensions that make `high` and `low` rotations in the context."""
        first, last = (self._dimension_of(rotations, count, theta) for rotations in (self.high, self.low))
        first, last = max(math.floor(first), 0), min(math.ceil(last), 2 * count - 1)
        length = (last - first) or 0.001
        return [min(1.0, max(0.0, (index - first) / length)) for index in range(count)]

    def _dimension_of(self, rotations: float, count: int, theta: float) -> float:
        """The index of the frequency that makes so many rotations in the original context."""
        return count * math.log(self.original_context / (rotations * 2 * math.pi)) / math.log(theta)
