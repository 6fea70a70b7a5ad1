"""An optional logger that fails is switched off, and training hears of it once."""

from nima_cli.errors import ResourceError
from nima_cli.events import Event, RunEnded, StepDone
from nima_cli.loggers import Guarded
from tests import recorded_run as run


class Brittle:
    """A logger that remembers what it took and fails at the events of one kind, or when closed."""

    def __init__(self, error: Exception, *, at: type[object] | None) -> None:
        self.taken: list[Event] = []
        self.closed = 0
        self._error = error
        self._at = at

    def __call__(self, event: Event, /) -> None:
        self.taken.append(event)
        if self._at is not None and isinstance(event, self._at):
            raise self._error

    def close(self) -> None:
        self.closed += 1
        if self._at is None:
            raise self._error


def test_a_failing_sink_is_switched_off_after_one_message() -> None:
    heard: list[str] = []
    logger = Brittle(RuntimeError("boom\nat line 3"), at=StepDone)
    view = Guarded(logger, "tensorboard", heard.append)
    for event in run.whole_run():
        view(event)
    view.close()
    assert heard == ["tensorboard is switched off for this run: RuntimeError: boom"]
    assert [type(event).__name__ for event in logger.taken] == ["RunStarted", "StepDone"]
    assert logger.closed == 1


def test_an_expected_failure_keeps_its_words_and_its_hint() -> None:
    heard: list[str] = []
    view = Guarded(Brittle(ResourceError("disk: full", hint="free some"), at=RunEnded), "plots", heard.append)
    for event in run.whole_run():
        view(event)
    assert heard == ["plots is switched off for this run: disk: full (free some)"]


def test_a_failure_while_closing_is_a_message_too() -> None:
    heard: list[str] = []
    view = Guarded(Brittle(OSError("gone"), at=None), "wandb", heard.append)
    view(run.started())
    view.close()
    assert heard == ["wandb is switched off for this run: OSError: gone"]


def test_a_sound_sink_hears_everything_and_is_closed() -> None:
    heard: list[str] = []
    logger = Brittle(RuntimeError(), at=str)
    view = Guarded(logger, "jsonl", heard.append)
    events = list(run.whole_run())
    for event in events:
        view(event)
    view.close()
    assert (logger.taken, logger.closed, heard) == (events, 1, [])
