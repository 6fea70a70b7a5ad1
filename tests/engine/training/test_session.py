"""Opening a run again: what is refused, what has already ended, what may have moved."""

import hashlib
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.files import BEST, LAST
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.training.session import Session, open_session, train
from nima_cli.errors import CheckpointError, ConfigError, DataError, NimaError, ResourceError
from nima_cli.events import Event, Note, RunEnded, RunStarted
from nima_cli.files import folder_lock
from tests.engine.training.runs import make_config, run_to_end, run_until, same_tensors, steps, weights


def run(session: Session) -> list[Event]:
    return list(train(open_session(session)))


@pytest.fixture(scope="module")
def begun(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory stopped after 6 of 24 steps; not to be changed."""
    folder = tmp_path_factory.mktemp("begun")
    run_until(make_config(), tiny_dataset, folder, 6)
    return folder


@pytest.fixture(scope="module")
def other_data(tiny_corpus: Path, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other samples under the same tokenizer."""
    folder = tmp_path_factory.mktemp("other") / "data"
    config = DataConfig(
        sources=[SourceConfig(path=str(tiny_corpus / "qa.json"))], tokenizer_from=str(tiny_dataset), max_length=128
    )
    list(prepare(config, folder, overwrite=False, workers=1))
    return folder


def test_a_run_leaves_its_resolved_config_and_no_lock_behind(tiny_dataset: Path, tmp_path: Path) -> None:
    from nima_cli.config.load import load_config

    config = make_config(max_steps=2)
    events = run(Session(config, tiny_dataset, tmp_path / "run"))
    assert isinstance(events[-1], RunEnded)
    assert load_config(tmp_path / "run" / "config.yaml", environ={}).config == config
    with folder_lock(tmp_path / "run"):
        pass


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"learning_rate": 0.5}, "`training.learning_rate` was 0.01, is now 0.5"),
        ({"model": {"n_layers": 3}}, "`model.n_layers` was 2, is now 3"),
        ({"batch_size": 8}, "`training.batch_size` was 4, is now 8"),
    ],
)
def test_another_run_is_refused_by_key(keys: dict[str, Any], named: str, begun: Path, tiny_dataset: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        open_session(Session(make_config(**keys), tiny_dataset, begun, resume=begun / LAST))
    assert named in refused.value.message


def test_other_data_is_refused_until_it_is_allowed(begun: Path, other_data: Path, tmp_path: Path) -> None:
    session = Session(make_config(max_steps=8), other_data, tmp_path / "run", resume=begun / LAST)
    with pytest.raises(DataError, match=r"not this run's dataset: its hash is [0-9a-f]{12}, was [0-9a-f]{12}"):
        open_session(session)
    events = run(Session(session.config, other_data, tmp_path / "run", resume=begun / LAST, allow_data_change=True))
    assert [event.step for event in steps(events)] == [7, 8]


def test_another_tokenizer_is_refused_even_when_allowed(begun: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    config = DataConfig(sources=[SourceConfig(path=str(tiny_corpus / "qa.json"))], vocab_size=400)
    list(prepare(config, tmp_path / "data", overwrite=False, workers=1))
    session = Session(make_config(), tmp_path / "data", begun, resume=begun / LAST, allow_data_change=True)
    with pytest.raises(DataError, match="its tokenizer is not the one"):
        open_session(session)


def test_weights_alone_cannot_be_resumed(begun: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    checkpoint = checkpoints.load(begun / LAST)
    checkpoint.optimizer = None
    checkpoints.save(tmp_path / "weights.pt", checkpoint)
    with pytest.raises(CheckpointError) as refused:
        open_session(Session(make_config(), tiny_dataset, tmp_path, resume=tmp_path / "weights.pt"))
    assert refused.value.hint == "use `init_from=` to start from it"


def test_what_has_ended_leaves_nothing_to_do(begun: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    def ended(steps_wanted: int, **keys: Any) -> RunEnded | None:
        config = make_config(max_steps=steps_wanted, **keys)
        return open_session(Session(config, tiny_dataset, tmp_path, resume=tmp_path / LAST)).already_ended

    run_to_end(make_config(max_steps=4), tiny_dataset, tmp_path)
    done = ended(4)
    assert done is not None
    assert (done.reason, done.step, done.best_step) == ("completed", 4, 4)
    assert ended(3) is not None
    assert ended(5) is None
    unfinished = Session(make_config(max_steps=6), tiny_dataset, begun, resume=begun / LAST)
    assert open_session(unfinished).already_ended is None  # step 6 is done but was not evaluated


def test_a_stopped_run_goes_on_only_with_more_patience(tiny_dataset: Path, tmp_path: Path) -> None:
    def config(patience: int) -> Any:
        return make_config(eval_steps=1, warmup_steps=0, early_stopping={"min_delta": 100.0, "patience": patience})

    run_to_end(config(2), tiny_dataset, tmp_path)
    stopped = open_session(Session(config(2), tiny_dataset, tmp_path, resume=tmp_path / LAST)).already_ended
    assert stopped is not None
    assert (stopped.reason, stopped.step, stopped.best_step) == ("early_stopped", 3, 1)
    session = Session(config(4), tiny_dataset, tmp_path, resume=tmp_path / LAST)
    assert open_session(session).already_ended is None
    assert [event.step for event in steps(run(session))] == [4, 5]


def test_a_run_directory_may_move(begun: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    moved = tmp_path / "new home [1] ünï"
    moved.mkdir()
    for name in (LAST, BEST):
        (moved / name).write_bytes((begun / name).read_bytes())
        assert str(begun).encode() not in (begun / name).read_bytes()
    events = run(Session(make_config(max_steps=8), tiny_dataset, moved, resume=moved / LAST))
    assert Note("info", "resuming from step 6") in events
    assert [event.step for event in steps(events)] == [7, 8]
    assert checkpoints.load(moved / LAST).header["step"] == 8


def test_opening_writes_nothing(begun: Path, tiny_dataset: Path) -> None:
    def state() -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in begun.iterdir() if path.is_file()}

    before = state()
    open_session(Session(make_config(), tiny_dataset, begun, resume=begun / LAST))
    assert state() == before


@pytest.mark.parametrize(("name", "kept"), [("resume", 0), ("init_from", 0), ("init_from", 1)])
def test_training_lets_go_of_what_was_loaded(
    name: str, kept: int, begun: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    """But for the weights that a run which may roll back began with."""
    loads: dict[str, Any] = {name: begun / LAST}
    opened = open_session(Session(make_config(max_rollbacks=kept), tiny_dataset, tmp_path / "run", **loads))
    loaded = opened.resume or opened.init_from
    assert loaded is not None
    alive = [weakref.ref(tensor) for tensor in loaded.model.values()]
    del loaded
    events = train(opened)
    next(events)
    assert [reference() is not None for reference in alive] == [bool(kept)] * len(alive)


def test_a_directory_in_use_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    first = train(open_session(Session(make_config(), tiny_dataset, tmp_path)))
    assert isinstance(next(first), RunStarted)
    with pytest.raises(ResourceError, match=r"in use by pid \d+ on \S+ since \d{4}-") as refused:
        run(Session(make_config(), tiny_dataset, tmp_path))
    assert refused.value.exit_code == 4
    first.close()  # type: ignore[attr-defined]
    assert isinstance(run(Session(make_config(max_steps=1), tiny_dataset, tmp_path))[-1], RunEnded)


def test_init_from_starts_a_new_run_with_the_weights(begun: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    config = make_config(max_steps=1, learning_rate=1e-9, weight_decay=0.0, warmup_steps=0)
    events = run(Session(config, tiny_dataset, tmp_path, init_from=begun / LAST))
    assert isinstance(events[0], RunStarted)
    assert events[0].first_step == 1
    old, new = checkpoints.load(begun / LAST), checkpoints.load(tmp_path / LAST)
    for name, tensor in old.model.items():
        assert (tensor - new.model[name]).abs().max() < 1e-6
    assert not same_tensors(weights(begun / LAST), weights(tmp_path / LAST))
    assert new.header["step"] == 1


@pytest.mark.parametrize(
    ("keys", "message"), [({"d_model": 16}, "`d_model` 32 and 16"), ({"n_layers": 1}, "`n_layers` 2 and 1")]
)
def test_init_from_another_shape_is_refused(
    keys: dict[str, Any], message: str, begun: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    session = Session(make_config(model=keys), tiny_dataset, tmp_path, init_from=begun)
    with pytest.raises(ConfigError) as refused:
        open_session(session)
    assert message in refused.value.message


def test_other_threads_are_pointed_out(begun: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(2)
    events = run(Session(make_config(max_steps=7), tiny_dataset, tmp_path, resume=begun / LAST))
    assert Note("warning", "2 threads instead of 1: sums may round differently") in events


@pytest.mark.usefixtures("compiled_kernels")
def test_kernels_that_a_run_had_not_are_pointed_out(
    begun: Path, tiny_dataset: Path, compiled: Path, tmp_path: Path
) -> None:
    assert checkpoints.load(begun / LAST).header["compiled"] is None
    session = Session(make_config(max_steps=7), tiny_dataset, tmp_path, resume=begun / LAST, compiled=compiled)
    note = Note("warning", "computing with compiled kernels instead of torch alone: sums may round differently")
    assert note in run(session)
    assert checkpoints.load(tmp_path / LAST).header["compiled"] == "kernels"
    longer = replace(session, config=make_config(max_steps=8), resume=tmp_path / LAST)
    assert not [event for event in run(longer) if isinstance(event, Note) and "compiled kernels" in event.message]
    events = run(replace(longer, config=make_config(max_steps=9), compiled=None))
    assert (
        Note("warning", "computing with torch alone instead of compiled kernels: sums may round differently") in events
    )


def test_a_missing_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(NimaError, match="nowhere"):
        open_session(Session(make_config(), tmp_path / "nowhere", tmp_path))


def test_a_config_in_the_header_is_strict_json(begun: Path) -> None:
    header = checkpoints.load(begun / LAST).header
    assert json.loads(json.dumps(header, allow_nan=False)) == header


@pytest.mark.parametrize("resume", [None, Path("runs/ünusual 1/checkpoint_best.pt")])
def test_a_session_travels_as_text(resume: Path | None) -> None:
    config = make_config(max_steps=7, warmup_steps=2)
    session = Session(config, Path("data"), Path("run"), resume, Path("weights.pt"), resume is None, resume)
    assert Session.from_json(session.to_json()) == session
