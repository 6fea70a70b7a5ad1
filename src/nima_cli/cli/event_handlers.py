"""Dispatches events, and chooses the event handlers of a run."""

import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nima_cli.ui.console import safe_json, say, write_out

if TYPE_CHECKING:
    from nima_cli.config.schema import MonitoringConfig
    from nima_cli.events import Event, EventHandler
    from nima_cli.loggers.jsonl import MetricsRow

Result = TypeVar("Result")


def dispatch(events: "Iterable[Event]", handlers: "Sequence[EventHandler]") -> "Event | None":
    """Give every event to every handler, close them, and return the last event."""
    event = None
    with ExitStack() as closing:  # one that fails to close does not keep the others open
        for handler in handlers:
            closing.callback(handler.close)
        for event in events:
            for handler in handlers:
                handler(event)
    return event


def run(steps: "Generator[Event, None, Result]", handlers: "Sequence[EventHandler]") -> Result:
    """As `dispatch`, for a generator that returns a result."""
    results: list[Result] = []

    def events() -> "Iterator[Event]":
        results.append((yield from steps))

    dispatch(events(), handlers)
    return results[0]


def run_event_handlers(
    monitoring: "MonitoringConfig", run_dir: Path, *, resumed_step: int | None, history: Path, quiet: bool
) -> "list[EventHandler]":
    """The event handlers of a training run: the terminal, `metrics.jsonl`, the log, and what `monitoring` enables.

    Args:
        resumed_step: rows of later steps are dropped; None for a new run.
        history: the run directory that holds the earlier rows, which may be another one.
    """
    from nima_cli.loggers import Guarded
    from nima_cli.loggers.jsonl import JsonlLogger, metrics_row, read_metrics, samples_row, until_step
    from nima_cli.loggers.log import LogFile
    from nima_cli.ui.train_view import train_view

    def tell(message: str) -> None:
        with suppress(OSError, ValueError):  # stderr itself may be what failed
            say(message, "warning")

    def rows(name: str, to_row: "Callable[[Event], MetricsRow | None]") -> JsonlLogger:
        path = run_dir / name
        return JsonlLogger(path, keep_until_step=resumed_step, history=history / name, to_row=to_row, tell=tell)

    handlers: list[EventHandler] = [
        Guarded(train_view(quiet=quiet), "the display", tell),  # a closed terminal must not end the run
        rows("metrics.jsonl", metrics_row),
        rows("samples.jsonl", samples_row),
        Guarded(LogFile(run_dir / "logs"), "the log file", tell),
    ]
    if monitoring.tensorboard:
        from nima_cli.loggers.tensorboard import TensorboardLogger

        logger = TensorboardLogger(run_dir / "tensorboard", keep_until_step=resumed_step)
        handlers.append(Guarded(logger, "TensorBoard", tell))
    if monitoring.plots:
        from nima_cli.loggers.figures import FiguresLogger

        metrics, earlier = history / "metrics.jsonl", []
        if resumed_step is not None and metrics.is_file():
            earlier = until_step(read_metrics(metrics), resumed_step)
        handlers.append(Guarded(FiguresLogger(run_dir / "plots", rows=earlier), "plots", tell))
    if monitoring.wandb.enabled:
        from nima_cli.loggers.wandb import WandbLogger

        handlers.append(Guarded(WandbLogger(monitoring.wandb, tell=tell), "Weights & Biases", tell))
    return handlers


def print_json(value: object) -> None:
    """Print one JSON object on stdout."""
    if sys.stdout is not None:  # closed when Python started: a run that ended well has still ended well
        write_out(safe_json(json.dumps(value, ensure_ascii=False, allow_nan=False)) + "\n")
