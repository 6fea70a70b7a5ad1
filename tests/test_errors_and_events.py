"""Exit codes are promises, and events are plain facts."""

import dataclasses
import math
import typing
from pathlib import Path

import pytest

from nima_cli import errors, events


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InputError, 2),
        (errors.ConfigError, 2),
        (errors.DataError, 2),
        (errors.CheckpointError, 3),
        (errors.ResourceError, 4),
        (errors.DeviceError, 4),
        (errors.DivergedError, 5),
    ],
)
def test_exit_codes(kind: type[errors.NimaError], code: int) -> None:
    error = kind("a.yaml:3: unknown key", hint="remove it")
    assert error.exit_code == code
    assert (error.message, error.hint, str(error)) == ("a.yaml:3: unknown key", "remove it", "a.yaml:3: unknown key")
    error.__notes__ = ["attributes can be set: traceback and contextlib do"]


def test_events_hold_plain_facts_only_and_never_change() -> None:
    lists = (tuple[str, ...], tuple[Path, ...], tuple[tuple[str, float], ...])
    for kind in typing.get_args(events.Event):
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            assert hints[field.name] in (int, float, str, bool, Path, *lists), f"{kind.__name__}.{field.name}"
    note = events.Note("info", "started")
    with pytest.raises(dataclasses.FrozenInstanceError):
        note.level = "warning"  # type: ignore[misc]


def test_perplexity_is_the_exponential_and_never_overflows() -> None:
    assert events.perplexity(0.0) == 1.0
    assert events.perplexity(math.log(50.0)) == pytest.approx(50.0)
    assert events.perplexity(1e6) == math.inf
    assert math.isnan(events.perplexity(math.nan)) or events.perplexity(math.nan) == math.inf
