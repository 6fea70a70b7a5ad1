"""`hardware.distributed`: processes that nima starts itself end together, and never outlive what started them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nima_cli.engine.checkpoint import file as checkpoints
from tests.cli.programs import CONFIG, rows, start, wait_for

if sys.platform != "linux":
    pytest.skip("finds the processes under /proc", allow_module_level=True)


def workers(parent: int) -> list[int]:
    """The training processes of a launcher, in the order of their ranks."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text("utf-8").split()
    return sorted(int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def launched(tiny_dataset: Path, tmp_path: Path) -> Iterator["tuple[subprocess.Popen[bytes], list[int]]"]:
    """A long run of two processes that has begun to train, and their ids."""
    config = tmp_path / "tiny.yaml"
    config.write_text(
        CONFIG + "  distributed: true\n  gpu_ids: [0, 1]\nmonitoring: {tensorboard: false, plots: false}\n", "utf-8"
    )
    args = ("train", "-c", config, "--data", tiny_dataset, "--output-dir", tmp_path / "run", "--max-steps", "900")
    process = start((*args, "--set", "training.eval_steps=900", "--set", "training.save_steps=2"), tmp_path / "home")
    metrics = tmp_path / "run" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text("utf-8").count('"event": "saved"') > 0)
    pids = workers(process.pid)
    yield process, pids
    for pid in [process.pid, *pids]:
        if not is_gone(pid):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_death_of_a_process_is_said_once(
    victim: int, launched: "tuple[subprocess.Popen[bytes], list[int]]", tmp_path: Path
) -> None:
    process, pids = launched
    os.kill(pids[victim], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 4, stderr.decode()
    said = [line for line in stderr.decode().splitlines() if "error" in line or "Traceback" in line]
    assert said == [f"error: training process {victim} was killed by signal 9"]
    assert all(map(is_gone, pids))
    assert checkpoints.newest_valid(tmp_path / "run")[1].header["step"] >= 2


@pytest.mark.slow
def test_signals_to_the_launcher_reach_the_processes(
    launched: "tuple[subprocess.Popen[bytes], list[int]]", tmp_path: Path
) -> None:
    process, pids = launched
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr.decode()
    assert "error" not in stderr.decode()
    assert all(map(is_gone, pids))
    ended = rows(tmp_path / "run", "run_ended")[0]
    assert ended["reason"] == "interrupted"
    assert checkpoints.newest_valid(tmp_path / "run")[1].header["step"] == ended["step"]


@pytest.mark.slow
def test_the_death_of_the_launcher_ends_the_processes(
    launched: "tuple[subprocess.Popen[bytes], list[int]]", tmp_path: Path
) -> None:
    process, pids = launched
    process.kill()
    wait_for(lambda: all(map(is_gone, pids)), 60)
    assert rows(tmp_path / "run", "run_ended")[0]["reason"] == "interrupted"
