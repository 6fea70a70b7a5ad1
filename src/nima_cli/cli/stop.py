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
def unwinding() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does: through everything that cleans up."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(EXIT_CODES[signal.Signals(number).name.removeprefix("SIG")])

    numbers = [getattr(signal, f"SIG{name}") for name in EXIT_CODES if name != "INT" and hasattr(signal, f"SIG{name}")]
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def requested() -> str | None:
    """`INT`, `TERM` or `HUP` after such a signal."""
    return _received


def save_requested() -> bool:
    """Whether SIGUSR1 has come since the last call."""
    global _save
    wanted, _save = _save, False
    return wanted
