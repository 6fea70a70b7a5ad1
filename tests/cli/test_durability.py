"""`nima train` and its run directory: room and permission, full disks, signals, closed terminals, older resumes."""

import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from nima_cli.engine.checkpoint.file import load
from tests.cli.conftest import TinyRun
from tests.cli.programs import CONFIG, Nima, contents, environment, refused, rows, start, wait_for

if sys.platform == "win32":
    pytest.skip("POSIX signals and limits", allow_module_level=True)


def steps_on_disk(run_dir: Path) -> dict[str, int]:
    return {path.name: load(path).header["step"] for path in run_dir.glob("checkpoint_*.pt")}


def test_too_little_room_is_said_before_anything_is_written(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    arguments = ("train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", tmp_path / "a" / "run")
    ran = nima(*arguments, "--set", f"training.save_total_limit={10**9}")
    line = refused(ran, 4)
    assert line.startswith(f"error: {tmp_path / 'a' / 'run'}: ")
    assert "MB are needed for checkpoints" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["file", "file/run", "file/a/b"])
def test_a_place_that_cannot_be_written_is_said_before_anything(
    below: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    ran = nima("train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", tmp_path / below)
    assert str(tmp_path / below) in refused(ran, 4)
    assert contents(tmp_path) == {"file": b"not a folder"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    for run_dir in (closed, closed / "run"):
        ran = nima("train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", run_dir)
        assert "permission denied" in refused(ran, 4)
    assert list(closed.iterdir()) == []


def test_a_disk_that_takes_no_checkpoint_lets_the_run_end_and_then_says_so(tiny_run: TinyRun, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "nima_cli", "train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir",
         run_dir, "--set", "monitoring.plots=false", "--set", "monitoring.tensorboard=false"],
        env=environment(tmp_path / "home"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    stderr = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 4, stderr
    assert [row["step"] for row in rows(run_dir, "step")] == list(range(1, 13))
    warnings = [line for line in stderr.splitlines() if line.startswith("warning: step ")]
    assert len(warnings) == 4, "the best and the last, at steps 6 and 12"
    assert f"step 6 is not saved: {run_dir / 'checkpoint_best.pt'}: cannot write: the file would be larger" in stderr
    assert f"error: {run_dir}: the newest checkpoint is older than step 12: there is none" in stderr
    assert "Traceback" not in stderr
    assert not list(run_dir.glob("*.pt"))
    assert not list(run_dir.glob(".*.tmp"))


def test_what_a_killed_writer_left_is_swept(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    run_dir = tiny_run.copy(tmp_path)
    litter = [run_dir / ".checkpoint_last.pt.4242.tmp", run_dir / "plots" / ".loss.png.17.tmp"]
    mine = [run_dir / "notes.tmp", run_dir / ".notes.tmp", run_dir / "checkpoint_step_x.pt"]
    for path in litter + mine:
        path.write_text("x")
    assert nima("train", "--resume", run_dir).code == 0
    assert all(path.exists() for path in litter), "a finished run is left alone"
    assert nima("train", "--resume", run_dir, "--max-steps", "13").code == 0
    assert not any(path.exists() for path in litter)
    assert all(path.exists() for path in mine)


def test_going_on_from_the_best_keeps_what_is_newer(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    run_dir = tiny_run.copy(tmp_path)
    assert nima("train", "--resume", run_dir, "--max-steps", "17", "--set", "training.save_steps=2").code == 0
    best = load(run_dir / "checkpoint_best.pt").header["step"]
    last = (run_dir / "checkpoint_last.pt").read_bytes()
    older = run_dir / "checkpoint_step_16.pt"
    ran = nima("train", "--resume", older, "--max-steps", "18", "--set", "training.save_steps=2")
    assert ran.code == 0, ran.stderr
    discarded = "checkpoint_last.pt.superseded" + (", checkpoint_best.pt.superseded" if best > 16 else "")
    assert f"steps 17-17 are discarded; kept as {discarded}" in ran.stderr
    assert (run_dir / "checkpoint_last.pt.superseded").read_bytes() == last
    assert [row["step"] for row in rows(run_dir, "step")] == list(range(1, 19))
    found = steps_on_disk(run_dir)
    assert (found["checkpoint_last.pt"], found["checkpoint_step_16.pt"]) == (18, 16)


def test_a_damaged_last_checkpoint_falls_back_to_the_step_before(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    run_dir = tiny_run.copy(tmp_path)
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        (run_dir / name).write_bytes((run_dir / name).read_bytes()[:-1000])
    ran = nima("train", "--resume", run_dir)
    assert ran.code == 0, ran.stderr
    assert ran.stderr.count(".pt: damaged: ") == 2
    assert "going on from checkpoint_step_6.pt" in ran.stderr
    assert steps_on_disk(run_dir)["checkpoint_last.pt"] == 12
    assert [row["step"] for row in rows(run_dir, "step")] == list(range(1, 13))


def test_nothing_in_a_run_says_where_it_lies(tiny_run: TinyRun) -> None:
    place = f"/{tiny_run.run_dir.name}".encode()
    assert [name for name, content in contents(tiny_run.run_dir).items() if place in content] == []


def long_run(tiny_run: TinyRun, folder: Path, *flags: str) -> tuple[Path, list[str]]:
    (folder / "long.yaml").write_text(CONFIG.replace("max_steps: 12", "max_steps: 20000"), encoding="utf-8")
    run_dir = folder / "run"
    return run_dir, ["train", "-c", str(folder / "long.yaml"), "--data", str(tiny_run.data), "--output-dir",
                     str(run_dir), "--set", "training.epochs=9999", *flags]  # fmt: skip


def begun(run_dir: Path, count: int = 4) -> bool:
    metrics = run_dir / "metrics.jsonl"
    return metrics.exists() and metrics.read_bytes().count(b'"step", ') >= count


def has_saved(run_dir: Path, count: int) -> bool:
    return len(rows(run_dir, "saved")) >= count


def test_usr1_saves_and_goes_on(tiny_run: TinyRun, tmp_path: Path) -> None:
    never = ("--set", "training.save_steps=100000", "--set", "training.eval_steps=100000")
    run_dir, arguments = long_run(tiny_run, tmp_path, *never)
    process = start(tuple(arguments), tmp_path / "home")
    wait_for(lambda: begun(run_dir) or process.poll() is not None)
    for count in (1, 2, 3):
        process.send_signal(signal.SIGUSR1)
        wait_for(partial(has_saved, run_dir, count))
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 143, stderr
    saved = [int(str(row["step"])) for row in rows(run_dir, "saved")]
    steps = [int(str(row["step"])) for row in rows(run_dir, "step")]
    assert len(saved) == len(set(saved)) >= 4
    assert saved[-1] == steps[-1]
    assert steps == list(range(1, len(steps) + 1))
    assert steps_on_disk(run_dir) == {"checkpoint_last.pt": saved[-1], f"checkpoint_step_{saved[-2]}.pt": saved[-2]}


def test_two_interrupts_at_once_leave_what_was_there(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    run_dir, arguments = long_run(tiny_run, tmp_path, "--set", "training.save_steps=1")
    process = start(tuple(arguments), tmp_path / "home")
    wait_for(lambda: begun(run_dir, 8) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1].decode()
    assert process.returncode in (130, -signal.SIGINT), stderr  # the first may have been served already
    assert "Traceback" not in stderr
    last = load(run_dir / "checkpoint_last.pt").header["step"]
    ran = nima("train", "--resume", run_dir, "--max-steps", str(last + 2))
    assert ran.code == 0, ran.stderr
    assert [row["step"] for row in rows(run_dir, "step")] == list(range(1, last + 3))


def test_nohup_keeps_a_run_alive(tiny_run: TinyRun, tmp_path: Path) -> None:
    run_dir, arguments = long_run(tiny_run, tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "nima_cli", *arguments], env=environment(tmp_path / "home"), stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    wait_for(lambda: begun(run_dir) or process.poll() is not None)
    process.send_signal(signal.SIGHUP)
    before = len(rows(run_dir, "step"))
    wait_for(lambda: begun(run_dir, before + 20) or process.poll() is not None)
    assert process.poll() is None, "a run under nohup must not mind a hangup"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143


@pytest.mark.parametrize("closed", [">&- 2>&-", "--json >&-", "--json >/dev/null 2>&-"])
def test_closed_descriptors_stop_nothing(closed: str, tiny_run: TinyRun, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    arguments = ["train", "-c", str(tiny_run.config), "--data", str(tiny_run.data), "--output-dir", str(run_dir)]
    shell = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-m", "nima_cli", *arguments]
    done = subprocess.run(shell, env=environment(tmp_path / "home"), capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert rows(run_dir)[-1]["event"] == "run_ended"


def test_a_reader_that_leaves_stops_nothing(tiny_run: TinyRun, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    arguments = ("train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", run_dir)
    with start(arguments, tmp_path / "home", stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        assert process.stderr.readline()
        process.stderr.close()
        assert process.wait(timeout=120) == 0
    assert rows(run_dir)[-1]["event"] == "run_ended"
    assert steps_on_disk(run_dir)["checkpoint_last.pt"] == 12
