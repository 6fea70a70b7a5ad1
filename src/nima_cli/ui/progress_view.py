"""Handlers of events for commands without a screen of their own: warnings alone, or the phase under way."""

from nima_cli.events import Event, EventHandler, Note, Progress
from nima_cli.ui.console import can_show, err, say


class QuietView(EventHandler):
    """Shows warnings and nothing else."""

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, Note) and event.level == "warning":
            say(event.message, event.level)


class PhaseView:
    """Names the phase under way, and how far it is where that is known; on a terminal only."""

    def __init__(self, *, quiet: bool) -> None:
        spinner = "dots" if can_show("⠋", err().file) else "line"
        self._status = err().status("", spinner=spinner) if err().is_terminal and not quiet else None
        if self._status is not None:
            self._status.start()

    def __call__(self, event: Event, /) -> None:
        if self._status is not None and isinstance(event, Progress):
            share = f" {event.done:,} of {event.total:,}" if event.unit else ""
            self._status.update(event.phase + share)

    def close(self) -> None:
        """Take the line away."""
        if self._status is not None:
            self._status.stop()
