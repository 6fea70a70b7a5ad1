"""Shows which phase a command is in, on a terminal only: a line that goes when the work is done."""

from nima_cli import events
from nima_cli.ui.console import can_show, err


class PhaseView:
    """Names the phase under way, and how far it is where that is known."""

    def __init__(self, *, quiet: bool) -> None:
        spinner = "dots" if can_show("⠋", err().file) else "line"
        self._status = err().status("", spinner=spinner) if err().is_terminal and not quiet else None
        if self._status is not None:
            self._status.start()

    def __call__(self, event: events.Event) -> None:
        """Take one event."""
        if self._status is not None and isinstance(event, events.Progress):
            share = f" {event.done:,} of {event.total:,}" if event.unit else ""
            self._status.update(event.phase + share)

    def close(self) -> None:
        """Take the line away."""
        if self._status is not None:
            self._status.stop()
