"""Whole runs: exact resumption, independence of what is watched, early stopping, and what is saved."""

import os
from pathlib import Path

import pytest
import torch

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.config.schema import Config
from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.files import BEST, LAST
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.training.trainer import Trainer
from nima_cli.events import EvalDone, Event, Note, RunEnded, RunStarted, SampleDrawn, Saved
from tests.engine.training.runs import (
    evaluations,
    losses,
    make_config,
    make_trainer,
    run_to_end,
    run_until,
    same_tensors,
    steps,
    weights,
)

# Logged every 3 steps, evaluated every 5, saved every 8, an epoch ends within step 19.
CONFIG = make_config(log_steps=3)


def told(events: list[Event]) -> tuple[dict[int, str], dict[int, tuple[str, bool]]]:
    """What steps and evaluations said, exactly and without times."""
    return losses(events), {event.step: (event.loss.hex(), event.best) for event in evaluations(events)}


@pytest.fixture(scope="module")
def whole(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A run of 24 steps that nobody disturbs."""
    torch.set_num_threads(1)
    run_dir = tmp_path_factory.mktemp("whole")
    return run_dir, run_to_end(CONFIG, tiny_dataset, run_dir)


def test_a_wish_in_the_middle_of_a_step_waits_for_its_end(
    whole: tuple[Path, list[Event]], tiny_dataset: Path, tmp_path: Path
) -> None:
    passes = 0
    trainer = make_trainer(CONFIG, tiny_dataset, tmp_path, should_stop=lambda: "TERM" if passes >= 13 else None)

    def count(*_: object) -> None:
        nonlocal passes
        passes += trainer.model.training

    trainer.model.norm.register_forward_hook(count)
    events = list(trainer.run())
    assert isinstance(events[-1], RunEnded)
    assert events[-1].step == 7  # the 13th forward pass is the first of step 7's two
    events += run_to_end(CONFIG, tiny_dataset, tmp_path, resume=LAST)
    assert told(events) == told(whole[1])
    assert same_tensors(weights(tmp_path / LAST), weights(whole[0] / LAST))


def test_resuming_from_the_best_goes_on_from_there(
    whole: tuple[Path, list[Event]], tiny_dataset: Path, tmp_path: Path
) -> None:
    run_until(CONFIG, tiny_dataset, tmp_path, 13)
    events = run_to_end(CONFIG, tiny_dataset, tmp_path, resume=BEST)
    assert isinstance(events[0], RunStarted)
    assert events[0].first_step == 11
    assert told(events)[0] == {step: loss for step, loss in told(whole[1])[0].items() if step > 10}
    assert same_tensors(weights(tmp_path / LAST), weights(whole[0] / LAST))


def test_two_fresh_runs_are_bit_identical(whole: tuple[Path, list[Event]], tiny_dataset: Path, tmp_path: Path) -> None:
    torch.manual_seed(123)  # the global generator is nobody's business
    assert told(run_to_end(CONFIG, tiny_dataset, tmp_path)) == told(whole[1])
    assert same_tensors(weights(tmp_path / LAST), weights(whole[0] / LAST))


def test_another_seed_is_another_run(whole: tuple[Path, list[Event]], tiny_dataset: Path, tmp_path: Path) -> None:
    other = told(run_to_end(make_config(log_steps=3, seed=43, max_steps=3), tiny_dataset, tmp_path))
    assert other[0][3] != told(whole[1])[0][3]


def test_watching_more_closely_does_not_change_training(
    whole: tuple[Path, list[Event]], tiny_dataset: Path, tmp_path: Path
) -> None:
    watched = make_config(log_steps=3, eval_steps=2, save_steps=1, samples=True)
    blind = make_config(log_steps=3, eval_steps=1000, save_steps=1000)
    one = run_to_end(watched, tiny_dataset, tmp_path / "watched")
    two = run_to_end(blind, tiny_dataset, tmp_path / "blind")
    assert losses(one) == losses(two) == losses(whole[1])
    assert same_tensors(weights(tmp_path / "watched" / LAST), weights(tmp_path / "blind" / LAST))
    assert {event.step for event in one if isinstance(event, SampleDrawn)} == set(range(2, 25, 2))
    often = run_to_end(make_config(log_steps=1), tiny_dataset, tmp_path / "often")
    assert [event.step for event in steps(often)] == list(range(1, 25))
    assert same_tensors(weights(tmp_path / "often" / LAST), weights(whole[0] / LAST))


def test_events_tell_the_run_in_order(whole: tuple[Path, list[Event]]) -> None:
    _, events = whole
    assert isinstance(events[0], RunStarted)
    assert (events[0].first_step, events[0].total_steps, events[0].tokens_per_step) == (1, 24, 256)
    assert [event.step for event in steps(events)] == [3, 6, 9, 12, 15, 18, 21, 24]
    assert [event.step for event in evaluations(events)] == [5, 10, 15, 20, 24]
    saved = [(event.path.name, event.step) for event in events if isinstance(event, Saved)]
    assert [step for name, step in saved if name == LAST] == [8, 16, 24]
    assert [step for name, step in saved if name == BEST] == [event.step for event in evaluations(events) if event.best]
    for event in steps(events):
        assert event.tokens == event.step * 256
        assert event.epoch == pytest.approx(event.step * 8 / 168)
        assert event.train_seconds <= event.elapsed_seconds
    first, *_, last = [event.loss for event in steps(events)]
    assert last < 4.5 < first


def test_the_logged_loss_is_the_mean_over_the_steps_since_the_last_line(
    whole: tuple[Path, list[Event]], tiny_dataset: Path, tmp_path: Path
) -> None:
    every = list(steps(run_to_end(make_config(log_steps=1, max_steps=24), tiny_dataset, tmp_path)))
    for event in steps(whole[1]):
        part = [one.loss for one in every if event.step - 3 < one.step <= event.step]
        # Steps differ by a few targets, because a boundary symbol carries no loss.
        assert event.loss == pytest.approx(sum(part) / 3, rel=1e-3)


def test_the_header_says_what_the_run_was(whole: tuple[Path, list[Event]], tiny_dataset: Path) -> None:
    checkpoint = checkpoints.load(whole[0] / LAST)
    header = checkpoint.header
    assert Config.model_validate(header["config"]) == CONFIG
    assert (header["step"], header["total_steps"], header["tokens"], header["evaluated_step"]) == (24, 24, 24 * 256, 24)
    best = min(evaluations(whole[1]), key=lambda event: event.loss)
    assert header["best"] == {"value": best.loss, "loss": best.loss, "step": best.step, "waited": 0}
    assert header["epoch"] == pytest.approx(24 * 8 / 168)
    assert header["dtype"] == "float32"
    assert header["threads"] == 1
    assert header["loss_scale"] is None
    assert checkpoint.optimizer is not None
    assert str(tiny_dataset) not in str(header)


def test_best_and_last_are_two_facts(tiny_dataset: Path, tmp_path: Path) -> None:
    stopping = {"min_delta": 0.5, "patience": 100}  # the later, smaller improvements count for nothing
    events = run_to_end(make_config(early_stopping=stopping), tiny_dataset, tmp_path)
    bests = [event.step for event in evaluations(events) if event.best]
    assert bests
    assert bests[-1] < 24
    assert checkpoints.load(tmp_path / BEST).header["step"] == bests[-1]
    last = checkpoints.load(tmp_path / LAST).header
    assert (last["step"], last["best"]["step"]) == (24, bests[-1])
    assert last["best"]["waited"] == sum(event.step > bests[-1] for event in evaluations(events))
    assert events[-1] == RunEnded("completed", 24, last["best"]["loss"], bests[-1])


def test_early_stopping_ends_the_run_also_across_a_resume(tiny_dataset: Path, tmp_path: Path) -> None:
    config = make_config(eval_steps=2, early_stopping={"min_delta": 100.0, "patience": 3})
    events = run_to_end(config, tiny_dataset, tmp_path / "whole")
    assert isinstance(events[-1], RunEnded)
    assert (events[-1].reason, events[-1].step, events[-1].best_step) == ("early_stopped", 8, 2)
    assert checkpoints.load(tmp_path / "whole" / LAST).header["step"] == 8
    run_until(config, tiny_dataset, tmp_path / "parts", 7)  # two of three evaluations have been waited for
    resumed = run_to_end(config, tiny_dataset, tmp_path / "parts", resume=LAST)
    assert resumed[-1] == events[-1]


def test_patience_does_not_run_out_before_the_learning_rate_falls(tiny_dataset: Path, tmp_path: Path) -> None:
    """At a constant rate the loss stands still; what the run is for comes with the cooldown."""
    hopeless = {"min_delta": 100.0, "patience": 2}
    config = make_config(eval_steps=1, lr_scheduler="wsd", max_steps=20, early_stopping=hopeless)
    holds = make_trainer(config, tiny_dataset, tmp_path).plan.schedule.before_decay
    last_held = max(step for step in range(1, 21) if holds(step))
    assert last_held > 5
    ended = run_to_end(config, tiny_dataset, tmp_path)[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.reason, ended.step) == ("early_stopped", last_held + 2)


def test_more_steps_extend_a_finished_run_and_say_so(
    whole: tuple[Path, list[Event]], tiny_dataset: Path, tmp_path: Path
) -> None:
    run_to_end(make_config(log_steps=3, max_steps=6), tiny_dataset, tmp_path)
    events = run_to_end(CONFIG, tiny_dataset, tmp_path, resume=LAST)
    assert Note("info", "the schedule is laid over 24 steps from step 6 on") in events
    done = list(steps(events))
    assert [event.step for event in done] == [9, 12, 15, 18, 21, 24]
    schedule = make_trainer(CONFIG, tiny_dataset, tmp_path).plan.schedule
    assert [event.learning_rate for event in done] == [schedule(event.step) for event in done]
    again = run_to_end(CONFIG, tiny_dataset, tmp_path / "same")
    assert not any(isinstance(event, Note) for event in again)


def test_a_stop_during_an_evaluation_leaves_it_for_the_resume(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nima_cli.engine.training.evaluator.TOKENS_PER_BATCH", 64)  # so that it takes many batches
    config = make_config(max_steps=12)
    undisturbed = run_to_end(config, tiny_dataset, tmp_path / "whole")

    def stopped_while_evaluating(resume: str | None) -> list[Event]:
        evaluating = False
        trainer = make_trainer(
            config, tiny_dataset, tmp_path / "parts", resume=resume, should_stop=lambda: "INT" if evaluating else None
        )

        def watch(*_: object) -> None:
            nonlocal evaluating
            evaluating = evaluating or (not trainer.model.training and trainer.step == 10)

        trainer.model.norm.register_forward_hook(watch)
        events = list(trainer.run())
        assert isinstance(events[-1], RunEnded)
        assert (events[-1].reason, events[-1].step) == ("interrupted", 10)
        assert all(event.step < 10 for event in evaluations(events))
        return events

    events = stopped_while_evaluating(None)
    events += stopped_while_evaluating(LAST)  # now while it is made up for
    events += run_to_end(config, tiny_dataset, tmp_path / "parts", resume=LAST)
    assert told(events) == told(undisturbed)
    assert same_tensors(weights(tmp_path / "parts" / LAST), weights(tmp_path / "whole" / LAST))


def test_the_best_and_the_last_of_one_step_are_one_file(whole: tuple[Path, list[Event]]) -> None:
    run_dir, events = whole
    assert any(event.step == 24 and event.best for event in evaluations(events))
    assert os.path.samefile(run_dir / BEST, run_dir / LAST)


def test_samples_are_drawn_after_the_save(tiny_dataset: Path, tmp_path: Path) -> None:
    events = run_to_end(make_config(samples=True, max_steps=10), tiny_dataset, tmp_path / "run")
    kinds = [type(event) for event in events if isinstance(event, EvalDone | Saved | SampleDrawn)]
    assert kinds[:3] == [EvalDone, Saved, SampleDrawn]
    assert kinds[-4:] == [EvalDone, Saved, Saved, SampleDrawn]


def test_a_stop_is_heard_between_the_tokens_of_a_sample(tiny_dataset: Path, tmp_path: Path) -> None:
    config = make_config(samples=True, max_steps=12)
    generation = config.evaluation.generation.model_copy(update={"max_length": 1000, "num_samples": 3})
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"generation": generation})})
    asked = 0
    stepped = 0

    def stop_while_writing() -> str | None:
        nonlocal asked
        asked += trainer.step == 5 and trainer.state.evaluated_step == 5
        return "INT" if asked > 3 else None

    def count(*_: object) -> None:
        nonlocal stepped
        stepped += not trainer.model.training and trainer.state.evaluated_step == 5

    trainer = make_trainer(config, tiny_dataset, tmp_path / "run", should_stop=stop_while_writing)
    trainer.model.norm.register_forward_hook(count)
    events = list(trainer.run())
    assert isinstance(events[-1], RunEnded)
    assert (events[-1].reason, events[-1].step) == ("interrupted", 5)
    assert stepped < 10, "it does not write on"
    assert not any(isinstance(event, SampleDrawn) for event in events)
    saved = [(event.path.name, event.step) for event in events if isinstance(event, Saved)]
    assert saved == [(BEST, 5), (LAST, 5)]
    whole = run_to_end(make_config(max_steps=12), tiny_dataset, tmp_path / "whole")
    rest = run_to_end(make_config(max_steps=12), tiny_dataset, tmp_path / "run", resume=LAST)
    assert told([*events, *rest]) == told(whole)


def test_a_stop_at_the_last_sample_of_a_finished_run_changes_nothing(tiny_dataset: Path, tmp_path: Path) -> None:
    trainers: list[Trainer] = []
    done = lambda: "INT" if trainers and trainers[0].state.evaluated_step == 6 else None  # noqa: E731
    trainers.append(
        make_trainer(make_config(samples=True, max_steps=6), tiny_dataset, tmp_path / "run", should_stop=done)
    )
    *_, last = trainers[0].run()
    assert isinstance(last, RunEnded)
    assert last.reason == "completed"


@pytest.fixture(scope="module")
def one_document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose train split is one short text."""
    folder = tmp_path_factory.mktemp("one")
    for name, text in {
        "a.txt": "Put the kettle on before the guests arrive, and warm the pot with hot water first.",
        "b.txt": "A second, unrelated line of prose that only serves the validation split of this test.",
        "c.txt": "And a third one, about nothing in particular, which becomes the test split here today.",
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    config = DataConfig(sources=[SourceConfig(path=str(folder))], tokenizer="char", train_ratio=0.34, val_ratio=0.33)
    list(prepare(config, folder / "data", overwrite=False, workers=1))
    return folder / "data"


def test_a_tiny_document_is_learned_by_heart(one_document: Path, tmp_path: Path) -> None:
    config = make_config(
        model={"dropout": 0.0}, epochs=10000, max_steps=120, batch_size=4, gradient_accumulation_steps=1,
        log_steps=120, eval_steps=120, early_stopping={"enabled": False},
    )  # fmt: skip
    run_to_end(config, one_document, tmp_path)
    trainer = make_trainer(config, one_document, tmp_path, resume=LAST)
    batch = trainer.dataset.split("train").batch(range(4), context_length=32, seed=0)
    logits_BTV = trainer.model.eval()(batch.inputs_BT)
    loss = torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), batch.targets_BT.flatten(), ignore_index=-100)
    # The first tokens of a row have no context to know them by.
    assert loss.item() < 0.3
