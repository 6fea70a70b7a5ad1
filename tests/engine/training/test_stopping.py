"""The best evaluation and the patience without one."""

import math

import pytest

from nima_cli.config.schema import METRIC_MODES, EarlyStoppingConfig
from nima_cli.engine.training.evaluator import Metrics
from nima_cli.engine.training.stopping import Best, EarlyStopping


def metrics(loss: float, *, hits: int = 10, text_bytes: int = 400) -> Metrics:
    return Metrics(loss_sum=loss * 100, tokens=100, n_correct=hits, bytes=text_bytes)


def stopping(**keys: object) -> EarlyStopping:
    return EarlyStopping(EarlyStoppingConfig.model_validate(keys))


def test_nan_and_infinity_are_never_the_best() -> None:
    watched = stopping(patience=10)
    losses = [math.nan, 5.0, math.inf, 4.0, math.nan, 4.5]
    found = [watched.take(metrics(loss), step) for step, loss in enumerate(losses, 1)]
    assert found == [False, True, False, True, False, False]
    assert (watched.best.loss, watched.best.step, watched.best.waited) == (4.0, 4, 2)


def test_patience_counts_evaluations_since_the_best() -> None:
    watched = stopping(patience=2)
    stopped = []
    for step, loss in enumerate([3.0, 3.1, 2.9, 2.95, 2.96], 1):
        watched.take(metrics(loss), step)
        stopped.append(watched.out_of_patience)
    assert stopped == [False, False, False, False, True]


def test_switched_off_it_never_stops_but_still_knows_the_best() -> None:
    watched = stopping(enabled=False, patience=1)
    assert watched.take(metrics(3.0), 1)
    assert not watched.take(metrics(4.0), 2)
    assert not watched.out_of_patience
    assert watched.best.step == 1


def test_min_delta_is_the_smallest_improvement() -> None:
    watched = stopping(min_delta=0.1, patience=9)
    taken = [loss for loss in (3.0, 2.95, 2.91, 2.89, 2.8) if watched.take(metrics(loss), 1)]
    assert taken == [3.0, 2.89]


@pytest.mark.parametrize(
    ("metric", "better", "worse"),
    [
        ("val_loss", metrics(2.0), metrics(3.0)),
        ("val_perplexity", metrics(2.0), metrics(3.0)),
        ("val_bits_per_byte", metrics(3.0, text_bytes=900), metrics(3.0, text_bytes=300)),
        ("val_accuracy", metrics(3.0, hits=50), metrics(2.0, hits=20)),
    ],
)
def test_each_metric_has_its_direction(metric: str, better: Metrics, worse: Metrics) -> None:
    assert stopping(metric=metric).take(worse, 1)
    rising, falling = stopping(metric=metric), stopping(metric=metric)
    assert [rising.take(worse, 1), rising.take(better, 2)] == [True, True]
    assert [falling.take(better, 1), falling.take(worse, 2)] == [True, False]
    assert falling.best.loss == better.loss


@pytest.mark.parametrize("best", [Best(), Best(value=0.5, loss=1.25, step=40, waited=3)])
def test_the_best_survives_a_checkpoint_header(best: Best) -> None:
    assert Best.from_dict(best.to_dict()) == best


@pytest.mark.parametrize("metric", ["train_loss", "train_perplexity"])
def test_training_s_own_loss_can_be_watched(metric: str) -> None:
    watched = stopping(metric=metric, patience=2)
    seen = [(3.0, 2.5), (3.1, 2.4), (2.0, 2.4), (1.0, math.nan)]
    taken = [watched.take(metrics(loss), step, train_loss=train) for step, (loss, train) in enumerate(seen, 1)]
    assert taken == [True, True, False, False]
    assert (watched.best.step, watched.best.loss) == (2, 3.1)
    assert watched.out_of_patience


def test_a_direction_that_would_keep_the_worst_is_refused() -> None:
    for metric, mode in METRIC_MODES.items():
        wrong = "max" if mode == "min" else "min"
        with pytest.raises(ValueError, match=f"use `{mode}`"):
            stopping(metric=metric, mode=wrong)
        assert stopping(metric=metric, mode=mode).config.mode == mode
