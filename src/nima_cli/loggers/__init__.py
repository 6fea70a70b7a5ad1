"""Loggers keep events in files, figures and dashboards."""

import contextlib
from collections.abc import Callable

from nima_cli.errors import NimaError
from nima_cli.events import EvalDone, Event, EventHandler, StepDone, perplexity


class Guarded:
    """An optional handler: its first exception switches it off and is told to `on_failure` in one sentence."""

    def __init__(self, handler: EventHandler, name: str, on_failure: Callable[[str], None]) -> None:
        self._handler = handler
        self._name = name
        self._on_failure = on_failure
        self._alive = True

    def __call__(self, event: Event, /) -> None:
        if self._alive:
            try:
                self._handler(event)
            except Exception as error:
                self._switch_off(error)
                with contextlib.suppress(Exception):
                    self._handler.close()

    def close(self) -> None:
        if self._alive:
            try:
                self._handler.close()
            except Exception as error:
                self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        self._alive = False
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, NimaError):
            reason = error.message if error.hint is None else f"{error.message} ({error.hint})"
        self._on_failure(f"{self._name} is switched off for this run: {reason.splitlines()[0]}")


def dashboard_scalars(event: StepDone | EvalDone) -> dict[str, float]:
    """The numbers of a step or an evaluation under their names in dashboards."""
    side = "train" if isinstance(event, StepDone) else event.split
    fields = ("learning_rate", "grad_norm", "tokens_per_second", "bits_per_byte", "accuracy")
    numbers = {field: getattr(event, field) for field in fields if hasattr(event, field)}
    numbers |= {"loss": event.loss, "perplexity": perplexity(event.loss)}
    return {f"{side}/{field}": value for field, value in numbers.items()}
