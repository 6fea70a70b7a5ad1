"""TensorBoard's own reader sees what the sink wrote, once per step after a resume."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from nima_cli.events import Event
from nima_cli.sinks.tensorboard import TensorboardSink
from tests import recorded_run as run


def write(folder: Path, events: Iterable[Event], *, keep_until_step: int | None = None) -> None:
    sink = TensorboardSink(folder, keep_until_step=keep_until_step)
    for event in events:
        sink(event)
    sink.close()


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    return accumulator.Reload()


def scalars(folder: Path, tag: str) -> dict[int, float]:
    return {event.step: event.value for event in read(folder).Scalars(tag)}


def test_scalars_of_steps_and_evaluations(tmp_path: Path) -> None:
    write(tmp_path / "tb", [run.started(), run.step(10, 3.0), run.evaluation(10, 3.5), run.step(20, 2.5)])
    assert sorted(read(tmp_path / "tb").Tags()["scalars"]) == [
        "train/grad_norm",
        "train/learning_rate",
        "train/loss",
        "train/perplexity",
        "train/tokens_per_second",
        "val/accuracy",
        "val/bits_per_byte",
        "val/loss",
        "val/perplexity",
    ]
    assert scalars(tmp_path / "tb", "train/loss") == {10: 3.0, 20: 2.5}
    assert scalars(tmp_path / "tb", "val/perplexity") == {10: pytest.approx(math.exp(3.5))}


def test_samples_and_the_config_are_texts_kept_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, [run.started(), run.sample(7, " is\n# not a *heading*", "The module")])
    accumulator = read(tmp_path)
    (sample,) = accumulator.Tensors("samples/The module")
    assert sample.step == 7
    assert sample.tensor_proto.string_val == [b"    The module is\n    # not a *heading*"]
    assert b'"preset": "gpt-tiny"' in accumulator.Tensors("config")[0].tensor_proto.string_val[0]
    metadata = accumulator.SummaryMetadata("samples/The module")
    assert metadata.plugin_data.plugin_name == "text"


def test_what_is_written_can_be_read_while_training_goes_on(tmp_path: Path) -> None:
    sink = TensorboardSink(tmp_path, keep_until_step=None)
    sink(run.step(1, 4.0))
    assert scalars(tmp_path, "train/loss") == {1: 4.0}
    sink.close()


def test_after_a_resume_later_steps_of_the_first_process_are_gone(tmp_path: Path) -> None:
    write(tmp_path, [run.step(number, 1.0) for number in (10, 20, 30, 40)])
    write(tmp_path, [run.started(first_step=21), run.step(30, 2.0)], keep_until_step=20)
    assert scalars(tmp_path, "train/loss") == {10: 1.0, 20: 1.0, 30: 2.0}


def test_a_loss_that_is_not_finite_is_kept(tmp_path: Path) -> None:
    write(tmp_path, [run.step(1, math.nan)])
    assert math.isnan(scalars(tmp_path, "train/loss")[1])
