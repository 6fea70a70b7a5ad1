"""TensorBoard's own reader sees what the logger wrote, once per step after a resume."""

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from nima_cli.events import Event, RolledBack
from nima_cli.loggers.tensorboard import TensorboardLogger
from tests import recorded_run as run


def write(folder: Path, events: Iterable[Event], *, keep_until_step: int | None = None) -> None:
    logger = TensorboardLogger(folder, keep_until_step=keep_until_step)
    for event in events:
        logger(event)
    logger.close()


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
    logger = TensorboardLogger(tmp_path, keep_until_step=None)
    logger(run.step(1, 4.0))
    assert scalars(tmp_path, "train/loss") == {1: 4.0}
    logger.close()


def test_after_a_resume_later_steps_of_the_first_process_are_gone(tmp_path: Path) -> None:
    write(tmp_path, [run.step(number, 1.0) for number in (10, 20, 30, 40)])
    write(tmp_path, [run.started(first_step=21), run.step(30, 2.0)], keep_until_step=20)
    assert scalars(tmp_path, "train/loss") == {10: 1.0, 20: 1.0, 30: 2.0}


def test_the_pages_of_tensorboard_forget_them_too_text_included(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    write(tmp_path, [run.started(), run.step(10), run.step(20), run.sample(20), run.step(30), run.sample(30)])
    write(tmp_path, [run.started(first_step=21), run.step(30, 2.0), run.sample(30)], keep_until_step=20)
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    accumulator.Reload()
    assert [event.step for event in accumulator.Tensors("train/loss")] == [10, 20, 30]
    assert [event.step for event in accumulator.Tensors("samples/The module")] == [20, 30]


def test_a_loss_that_is_not_finite_is_kept(tmp_path: Path) -> None:
    write(tmp_path, [run.step(1, math.nan)])
    assert math.isnan(scalars(tmp_path, "train/loss")[1])


def test_a_run_that_went_back_shows_each_step_once(tmp_path: Path) -> None:
    before = [run.step(number, 9.0) for number in (10, 20, 30)]
    write(tmp_path, [run.started(), *before, RolledBack(20), run.step(30, 2.0), run.step(40, 1.0)])
    assert scalars(tmp_path, "train/loss") == {10: 9.0, 20: 9.0, 30: 2.0, 40: 1.0}


def test_hyper_parameters_are_those_of_the_model_and_the_training(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG, parse_session_start_info_plugin_data

    write(tmp_path, [run.started(tmp_path / "my run"), run.step(1, 3.0)])
    write(tmp_path, [run.started(tmp_path / "my run", first_step=2), run.step(2, 3.0)], keep_until_step=1)
    metadata = read(tmp_path).SummaryMetadata(SESSION_START_INFO_TAG)
    found = parse_session_start_info_plugin_data(metadata.plugin_data.content)
    assert found.group_name == "my run"
    assert found.hparams["model.preset"].string_value == "gpt-tiny"
    assert found.hparams["training.learning_rate"].number_value == 0.006


def test_steps_after_the_clock_was_set_back_are_seen(tmp_path: Path) -> None:
    write(tmp_path, [run.started(), run.step(10, 3.0), run.step(20, 2.5)])
    (earlier,) = tmp_path.iterdir()
    tomorrow = time.time_ns() + 86_400 * 10**9
    stamp = earlier.name.split(".")[3]
    earlier.rename(earlier.with_name(earlier.name.replace(stamp, f"{tomorrow:020d}")))
    write(tmp_path, [run.started(first_step=11), run.step(20, 2.4), run.step(30, 2.0)], keep_until_step=10)
    assert scalars(tmp_path, "train/loss") == pytest.approx({10: 3.0, 20: 2.4, 30: 2.0})
