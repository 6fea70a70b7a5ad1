"""Which checkpoints stay, what a failed save leaves, and what going on from an older one gives up."""

import errno
import os
from pathlib import Path

import pytest

from nima_cli.engine.checkpoint.file import Checkpoint, load
from nima_cli.engine.checkpoint.files import BEST, LAST, checkpoint_files, step_files
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from nima_cli.engine.training.resume.saver import Saver, supersede_later_checkpoints
from nima_cli.errors import ResourceError
from nima_cli.events import Note, Saved
from tests.engine.small_models import small_checkpoint


@pytest.fixture
def checkpoint(tiny_dataset: Path) -> Checkpoint:
    return small_checkpoint(load_tokenizer(tiny_dataset))


def put(saver: Saver, name: str, checkpoint: Checkpoint, step: int) -> Saved | Note:
    checkpoint.header["step"] = step
    return saver.save(name, checkpoint)


def steps_on_disk(run_dir: Path) -> dict[str, int]:
    return {path.name: load(path).header["step"] for path in checkpoint_files(run_dir)}


@pytest.mark.parametrize("keep", [2, 3])
def test_the_newest_stay_and_nothing_of_others_is_touched(keep: int, checkpoint: Checkpoint, tmp_path: Path) -> None:
    foreign = ["old-checkpoint_step_1.pt.bak", "checkpoint_step_01.pt", "checkpoint_step_-1.pt", "checkpoint_step_x.pt"]
    for name in foreign:
        (tmp_path / name).write_text("mine")
    saver = Saver(tmp_path, keep=keep, step=0)
    put(saver, BEST, checkpoint, 2)
    for step in (2, 4, 6, 8):
        assert isinstance(put(saver, LAST, checkpoint, step), Saved)
        assert len(steps_on_disk(tmp_path)) >= 2
    kept = {f"checkpoint_step_{step}.pt": step for step in (6, 4)[: keep - 1]}
    assert steps_on_disk(tmp_path) == {LAST: 8, BEST: 2, **kept}
    assert all((tmp_path / name).read_text() == "mine" for name in foreign)
    assert saver.newest_step == 8


def test_the_same_step_twice_pushes_nothing_out(checkpoint: Checkpoint, tmp_path: Path) -> None:
    saver = Saver(tmp_path, keep=2, step=0)
    for step in (2, 4, 4, 4):
        put(saver, LAST, checkpoint, step)
    assert steps_on_disk(tmp_path) == {LAST: 4, "checkpoint_step_2.pt": 2}


def test_another_process_goes_on_with_what_is_there(checkpoint: Checkpoint, tmp_path: Path) -> None:
    put(Saver(tmp_path, keep=2, step=0), LAST, checkpoint, 2)
    put(Saver(tmp_path, keep=2, step=2), LAST, checkpoint, 4)
    assert steps_on_disk(tmp_path) == {LAST: 4, "checkpoint_step_2.pt": 2}


def test_a_damaged_last_one_is_not_kept_as_an_earlier_one(checkpoint: Checkpoint, tmp_path: Path) -> None:
    saver = Saver(tmp_path, keep=2, step=0)
    for step in (2, 4):
        put(saver, LAST, checkpoint, step)
    (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:-100])
    put(Saver(tmp_path, keep=2, step=2), LAST, checkpoint, 4)
    assert steps_on_disk(tmp_path) == {LAST: 4, "checkpoint_step_2.pt": 2}


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOTSUP])
def test_without_hard_links_the_earlier_one_is_copied(
    error: int, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", refuse)
    saver = Saver(tmp_path, keep=2, step=0)
    for step in (2, 4):
        assert isinstance(put(saver, LAST, checkpoint, step), Saved)
    assert steps_on_disk(tmp_path) == {LAST: 4, "checkpoint_step_2.pt": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, "checkpoint_step_2.pt"]


@pytest.mark.parametrize("call", ["link", "replace", "fsync"])
def test_a_save_that_fails_is_a_warning_and_changes_no_checkpoint(
    call: str, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Saver(tmp_path, keep=2, step=0)
    for step in (2, 4):
        put(saver, LAST, checkpoint, step)
    before = {path.name: path.read_bytes() for path in checkpoint_files(tmp_path)}

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        told = put(saver, LAST, checkpoint, 6)
    assert isinstance(told, Note)
    assert told.level == "warning"
    assert told.message.startswith(f"step 6 is not saved: {tmp_path}")
    assert "no space left on the disk" in told.message
    assert f"{checkpoint.nbytes():,} bytes needed" in told.message
    assert " free)" in told.message
    assert before.items() <= {path.name: path.read_bytes() for path in tmp_path.iterdir()}.items()
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(ResourceError, match="the newest checkpoint is older than step 6: that of step 4"):
        saver.require(6)
    assert isinstance(put(saver, LAST, checkpoint, 8), Saved)
    saver.require(8)
    assert steps_on_disk(tmp_path) == {LAST: 8, "checkpoint_step_4.pt": 4}


def test_what_an_older_resume_gives_up_is_named_and_kept(checkpoint: Checkpoint, tmp_path: Path) -> None:
    saver = Saver(tmp_path, keep=3, step=0)
    put(saver, LAST, checkpoint, 2)
    put(saver, BEST, checkpoint, 3)
    for step in (4, 6):
        put(saver, LAST, checkpoint, step)
    last = (tmp_path / LAST).read_bytes()
    (note,) = supersede_later_checkpoints(tmp_path, resumed=tmp_path / BEST, step=3)
    assert note.message == (
        "steps 4-6 are discarded; kept as checkpoint_last.pt.superseded, checkpoint_step_4.pt.superseded"
    )
    assert (tmp_path / f"{LAST}.superseded").read_bytes() == last
    assert steps_on_disk(tmp_path) == {BEST: 3, "checkpoint_step_2.pt": 2}
    put(saver, LAST, checkpoint, 6)
    (again,) = supersede_later_checkpoints(tmp_path, resumed=tmp_path / BEST, step=3)
    assert again.message == "steps 4-6 are discarded; kept as checkpoint_last.pt.superseded-2"
    assert (tmp_path / f"{LAST}.superseded").read_bytes() == last
    assert not list(supersede_later_checkpoints(tmp_path, resumed=tmp_path / BEST, step=3))


def test_step_files_are_listed_newest_first(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        (tmp_path / f"checkpoint_step_{step}.pt").touch()
    (tmp_path / "checkpoint_step_11.pt").mkdir()
    assert list(step_files(tmp_path)) == [100, 10, 9]
    assert step_files(tmp_path / "missing") == {}


def test_the_best_becomes_the_last_without_being_written_again(checkpoint: Checkpoint, tmp_path: Path) -> None:
    saver = Saver(tmp_path, keep=2, step=0)
    put(saver, LAST, checkpoint, 2)
    put(saver, BEST, checkpoint, 4)
    told = saver.best_is_last()
    assert isinstance(told, Saved)
    assert (told.path, told.step) == (tmp_path / LAST, 4)
    assert os.path.samefile(tmp_path / BEST, tmp_path / LAST)
    assert steps_on_disk(tmp_path) == {LAST: 4, BEST: 4, "checkpoint_step_2.pt": 2}
    put(saver, LAST, checkpoint, 6)
    assert steps_on_disk(tmp_path) == {LAST: 6, BEST: 4, "checkpoint_step_4.pt": 4}


def test_without_hard_links_the_last_is_a_copy_of_the_best(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    saver = Saver(tmp_path, keep=2, step=0)
    put(saver, BEST, checkpoint, 4)
    monkeypatch.setattr(os, "link", refuse)
    assert isinstance(saver.best_is_last(), Saved)
    assert steps_on_disk(tmp_path) == {LAST: 4, BEST: 4}
    assert not os.path.samefile(tmp_path / BEST, tmp_path / LAST)
