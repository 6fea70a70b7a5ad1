"""The plan of a run: lengths, cadences, and the warm-up that is shortened aloud."""

import pytest

from nima_cli.config.schema import TrainingConfig
from nima_cli.engine.training.run_spec import RunPlan, make_plan
from nima_cli.errors import ConfigError


def plan(rows: int = 1000, world_size: int = 1, **keys: object) -> RunPlan:
    training = TrainingConfig.model_validate({"epochs": 1.0, "batch_size": 8, "learning_rate": 0.01, **keys})
    return make_plan(training, 32, rows, world_size)


@pytest.mark.parametrize(
    ("rows", "epochs", "batch", "accumulation", "steps"),
    [(1000, 1.0, 8, 1, 125), (1001, 1.0, 8, 1, 126), (1000, 0.5, 8, 2, 32), (1000, 2.0, 8, 1, 250), (3, 1.0, 8, 1, 1)],
)
def test_length_is_counted_in_rows(rows: int, epochs: float, batch: int, accumulation: int, steps: int) -> None:
    found = plan(rows, epochs=epochs, batch_size=batch, gradient_accumulation_steps=accumulation)
    assert found.total_steps == found.schedule.total_steps == steps
    assert found.tokens_per_step == batch * accumulation * 32
    assert found.total_epochs == pytest.approx(steps * batch * accumulation / rows)


def test_max_steps_only_shortens() -> None:
    assert plan(epochs=1, max_steps=50).total_steps == 50
    assert plan(epochs=1, max_steps=5000).total_steps == 125


@pytest.mark.parametrize(("wanted", "used"), [(None, 3), (0, 0), (62, 62), (63, 12), (500, 12)])
def test_a_warm_up_past_half_of_the_run_becomes_a_tenth(wanted: int | None, used: int) -> None:
    found = plan(epochs=1, warmup_steps=wanted)
    assert found.schedule.warmup_steps == used
    if wanted is not None and wanted != used:
        (note,) = found.notes
        assert f" {wanted} " in note
        assert "125 steps" in note
        assert note.endswith("shortened to 12")
    else:
        assert found.notes == ()


def test_default_warm_up_is_a_small_share_and_at_most_100() -> None:
    assert plan(epochs=1, max_steps=50).schedule.warmup_steps == 1
    assert plan(epochs=1, max_steps=50, optimizer="adamw").schedule.warmup_steps == 5
    assert plan(epochs=1, max_steps=9).schedule.warmup_steps == 0
    assert plan(100_000, epochs=1).schedule.warmup_steps == 100


def test_cadences_follow_the_length() -> None:
    assert (plan(epochs=1).eval_steps, plan(epochs=1).save_steps) == (13, 13)
    assert plan(1_000_000, epochs=1).eval_steps == 500
    assert plan(epochs=1, eval_steps=7).save_steps == 7
    assert plan(epochs=1, eval_steps=7, save_steps=3).save_steps == 3


def test_the_batch_is_that_of_all_processes() -> None:
    assert plan(world_size=4, batch_size=8).tokens_per_step == plan(batch_size=8).tokens_per_step
    with pytest.raises(ConfigError, match=r"`training.batch_size` 6 cannot be shared by 4 processes"):
        plan(world_size=4, batch_size=6)
