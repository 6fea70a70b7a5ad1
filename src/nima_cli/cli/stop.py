"""Turns signals into flags that the training loop polls: stop, or save and go on."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODES = {"INT": 130, "TERM": 143, "HUP": 143}

_received: str | None = None
_save = False


def install(*, again_ends: bool = True) -> None:
    """Let SIGINT, SIGTERM, SIGHUP and SIGUSR1 only set a flag; a SIGHUP that `nohup` ignores stays ignored.

    With `again_ends`, a second signal of the same kind ends the process at once; files survive that.
    """

    def remember(number: int, frame: FrameType | None) -> None:
        global _received
        _received = signal.Signals(number).name.removeprefix("SIG")
        if again_ends:
            signal.signal(number, signal.SIG_DFL)

    for name in EXIT_CODES:
        number = getattr(signal, f"SIG{name}", None)  # Windows has no HUP
        if number is not None and (name != "HUP" or signal.getsignal(number) != signal.SIG_IGN):
            signal.signal(number, remember)
    install_save()


def install_save() -> None:
    """Let SIGUSR1, which would otherwise end the process, only set a flag."""

    def remember(number: int, frame: FrameType | None) -> None:
        global _save
        _save = True

    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, remember)


@contextmanager
def installed() -> Iterator[None]:
    """`install` for a block, which polls `leave_if_requested`."""
    names = (*EXIT_CODES, "USR1")
    before = {number: signal.getsignal(number) for name in names if (number := getattr(signal, f"SIG{name}", None))}
    install()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_if_requested() -> None:
    """End the program if a signal has asked for it, through everything that cleans up."""
    if _received is not None:
        raise SystemExit(EXIT_CODES[_received])


def requested() -> str | None:
    """`INT`, `TERM` or `HUP` after such a signal."""
    return _received


def save_requested() -> bool:
    """Whether SIGUSR1 has come since the last call."""
    global _save
    wanted, _save = _save, False
    return wanted
