"""A slowly moving average of the weights, which often predicts better than the weights themselves; knows no loop."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nima_cli.engine.model.gpt import GPT


class Ema:
    """Exponential moving average of every parameter (Polyak and Juditsky, 1992), kept in float32 beside the model.

    The decay grows with the step, min(decay, (1 + step) / (10 + step)), so that the first, random weights are soon
    forgotten; it is a function of the step alone, which keeps a resumed run exact.
    """

    def __init__(self, model: GPT, decay: float) -> None:
        """Start from the model's weights as they are."""
        self.decay = decay
        self._parameters = dict(model.named_parameters())
        self._averages = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights in as they are after optimizer step `step` (the first is 1)."""
        weight = 1.0 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self._averages.values()), list(self._parameters.values()), weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the model has the averages for weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self._averages[name] = self._averages[name], parameter.data

    def state(self) -> dict[str, torch.Tensor]:
        """Parameter name to its average."""
        return dict(self._averages)

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
        for name, average in self._averages.items():
            average.copy_(state[name])
