"""Turns signals into a wish to stop that the training loop asks for; installed before training begins."""

import signal
from types import FrameType

EXIT_CODES = {"INT": 130, "TERM": 143, "HUP": 143}

_received: str | None = None


def install(*, again_ends: bool = True) -> None:
    """From now on SIGINT, SIGTERM and SIGHUP only set a flag.

    Args:
        again_ends: a second signal of the same kind ends the process at once, which no file minds.
    """
    for name in EXIT_CODES:
        number = getattr(signal, f"SIG{name}", None)  # Windows has no HUP
        if number is not None:
            signal.signal(number, _remember_once if again_ends else _remember)


def _remember(number: int, frame: FrameType | None) -> None:
    global _received
    _received = signal.Signals(number).name.removeprefix("SIG")


def _remember_once(number: int, frame: FrameType | None) -> None:
    _remember(number, frame)
    signal.signal(number, signal.SIG_DFL)


def requested() -> str | None:
    """`INT`, `TERM` or `HUP` once such a signal has come."""
    return _received
