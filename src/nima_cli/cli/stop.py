"""Turns signals into flags that the training loop polls: stop, or save and go on."""

import signal
from types import FrameType

EXIT_CODES = {"INT": 130, "TERM": 143, "HUP": 143}

_received: str | None = None
_save = False


def install(*, again_ends: bool = True) -> None:
    """From now on SIGINT, SIGTERM, SIGHUP and SIGUSR1 only set a flag.

    A SIGHUP that was ignored before, as `nohup` does, stays ignored.

    Args:
        again_ends: a second signal of the same kind ends the process at once; files survive that.
    """
    for name in EXIT_CODES:
        number = getattr(signal, f"SIG{name}", None)  # Windows has no HUP
        if number is None or (name == "HUP" and signal.getsignal(number) == signal.SIG_IGN):
            continue
        signal.signal(number, _remember_once if again_ends else _remember)
    install_save()


def install_save() -> None:
    """From now on SIGUSR1, which would otherwise end the process, only sets a flag."""
    number = getattr(signal, "SIGUSR1", None)
    if number is not None:
        signal.signal(number, _remember_save)


def _remember(number: int, frame: FrameType | None) -> None:
    global _received
    _received = signal.Signals(number).name.removeprefix("SIG")


def _remember_once(number: int, frame: FrameType | None) -> None:
    _remember(number, frame)
    signal.signal(number, signal.SIG_DFL)


def _remember_save(number: int, frame: FrameType | None) -> None:
    global _save
    _save = True


def requested() -> str | None:
    """`INT`, `TERM` or `HUP` once such a signal has come."""
    return _received


def save_requested() -> bool:
    """Whether SIGUSR1 has come since the last call."""
    global _save
    wanted, _save = _save, False
    return wanted
