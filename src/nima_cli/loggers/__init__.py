"""Where events go to be kept, and the guard that lets training outlive a sink; knows nothing of the engine."""

import contextlib
from collections.abc import Callable

from nima_cli.errors import NimaError
from nima_cli.events import Event, EventHandler


def guarded(view: EventHandler, name: str, on_failure: Callable[[str], None]) -> EventHandler:
    """A view that never fails: at the first exception of `view` it is switched off and `on_failure` is told why.

    For optional sinks. `on_failure` gets one sentence and is called at most once.
    """
    return _Guarded(view, name, on_failure)


class _Guarded:
    def __init__(self, view: EventHandler, name: str, on_failure: Callable[[str], None]) -> None:
        self._view = view
        self._name = name
        self._on_failure = on_failure
        self._alive = True

    def __call__(self, event: Event, /) -> None:
        if self._alive:
            try:
                self._view(event)
            except Exception as error:
                self._switch_off(error)
                with contextlib.suppress(Exception):
                    self._view.close()

    def close(self) -> None:
        if self._alive:
            try:
                self._view.close()
            except Exception as error:
                self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        self._alive = False
        if isinstance(error, NimaError):
            reason = error.message if error.hint is None else f"{error.message} ({error.hint})"
        else:
            reason = f"{type(error).__name__}: {error}"
        first_line = reason.split("\n", 1)[0]
        self._on_failure(f"{self._name} is switched off for this run: {first_line}")
