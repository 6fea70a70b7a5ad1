"""What is watched while training: it changes nothing, tells each step once, keeps secrets, and opens no connection."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nima_cli.engine.checkpoint import file as checkpoints
from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, environment, rows

CANARY = "c0ffee" * 6 + "cafe"
OFF = (
    "monitoring.tensorboard=false", "monitoring.plots=false", "evaluation.generation.enabled=false",
    "training.eval_steps=100", "training.log_steps=4", "training.save_steps=100",
)  # fmt: skip
ON = ("training.eval_steps=2", "training.log_steps=4", "training.save_steps=1", "evaluation.generation.num_samples=2")

# Runs the program with a clock that jumps a day ahead or back at each look, and prints every attempt to use a network.
PROGRAM = """
import itertools, sys, time
jumps, real = itertools.cycle((86400.0, -86400.0, 0.0)), time.time
if {jumping}:
    time.time = lambda: real() + next(jumps)

def watch(name, args):
    if name in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        print("NETWORK", name, args[1:] if name != "socket.getaddrinfo" else args, flush=True)

sys.addaudithook(watch)
from nima_cli.cli.app import main
main()
"""


def sets(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def child(
    *args: str | Path, folder: Path, env: dict[str, str], jumping: bool = False
) -> "subprocess.CompletedProcess[bytes]":
    """The program under `PROGRAM`, in a working directory and a home of its own."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(jumping=jumping), *map(str, args)],
        env=environment(folder / "home", {"HOME": str(folder / "home"), **env}),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )


def curve(run_dir: Path) -> dict[int, tuple[str, str]]:
    """Step to loss and gradient norm, exactly."""
    return {
        int(row["step"]): (float(row["loss"]).hex(), float(row["grad_norm"]).hex())  # type: ignore[arg-type, call-overload]
        for row in rows(run_dir, "step")
    }


def tensors(run_dir: Path) -> dict[str, torch.Tensor]:
    return checkpoints.load(run_dir / "checkpoint_last.pt").model


def test_watching_does_not_change_training(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    for name, values in (("on", ON), ("off", OFF)):
        arguments = ("-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", tmp_path / name)
        ran = nima("train", *arguments, "--set", "model.dropout=0.1", *sets(*values))
        assert ran.code == 0, ran.stderr
    assert curve(tmp_path / "on") == curve(tmp_path / "off")
    one, other = tensors(tmp_path / "on"), tensors(tmp_path / "off")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not (tmp_path / "off" / "tensorboard").exists()
    assert not (tmp_path / "off" / "plots").exists()


def test_place_clock_and_hash_seed_change_nothing_and_nobody_is_called(tiny_run: TinyRun, tmp_path: Path) -> None:
    """`tiny_run` was made elsewhere, with a hash seed of its own and the machine's clock."""
    arguments = ("train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", tmp_path / "run")
    done = child(*arguments, folder=tmp_path, jumping=True, env={"PYTHONHASHSEED": "1"})
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"", "a network was used"
    assert curve(tmp_path / "run") == curve(tiny_run.run_dir)
    one, other = tensors(tmp_path / "run"), tensors(tiny_run.run_dir)
    assert all(torch.equal(one[name], other[name]) for name in one)
    losses = [[row["loss"] for row in rows(run_dir, "eval")] for run_dir in (tmp_path / "run", tiny_run.run_dir)]
    assert losses[0] == losses[1]


def tensorboard(run_dir: Path) -> dict[str, list[int]]:
    """Tag to steps, by the reader that TensorBoard's own pages use."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    read = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"tensors": 0})
    read.Reload()
    return {tag: [event.step for event in read.Tensors(tag)] for tag in read.Tags()["tensors"]}


def test_after_a_resume_no_step_is_told_twice(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    arguments = ("train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", run_dir)
    assert nima(*arguments, *sets("training.save_steps=3", "training.eval_steps=2")).code == 0
    shutil.copy(run_dir / "checkpoint_step_9.pt", tmp_path / "nine.pt")
    for path in run_dir.glob("checkpoint_*"):  # as if the process had died between steps 9 and 12
        path.unlink()
    shutil.copy(tmp_path / "nine.pt", run_dir / "checkpoint_last.pt")
    assert nima("train", "--resume", run_dir, "--data", tiny_run.data).code == 0
    assert [row["step"] for row in rows(run_dir, "step")] == list(range(1, 13))
    assert [row["step"] for row in rows(run_dir, "eval")] == [2, 4, 6, 8, 10, 12]
    assert curve(run_dir) == curve(tiny_run.run_dir)
    samples = [json.loads(line) for line in (run_dir / "samples.jsonl").read_text("utf-8").splitlines()]
    assert [row["step"] for row in samples] == [2, 4, 6, 8, 10, 12]
    board = tensorboard(run_dir)
    assert board["train/loss"] == list(range(1, 13))
    assert board["val/loss"] == board["samples/The"] == [2, 4, 6, 8, 10, 12]
    diary = (run_dir / "logs" / "train.log").read_text("utf-8")
    assert diary.count(" started ") == diary.count(" ended ") == 2


def test_what_may_change_and_did_is_told(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    run_dir = tiny_run.copy(tmp_path)
    ran = nima("train", "--resume", run_dir, "--max-steps", "13", *sets("training.log_steps=5"))
    assert ran.code == 0, ran.stderr
    told = [row["message"] for row in rows(run_dir, "note")]
    assert "`training.log_steps` was 1, is now 5" in told
    assert "`training.max_steps` was 12, is now 13" in told
    assert not [message for message in told if "data." in str(message)]


@pytest.mark.parametrize("name", ["tensorboard", "plots", "logs"])
def test_a_sink_that_fails_is_one_warning(name: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / name).write_text("in the way", encoding="utf-8")
    ran = nima("train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", run_dir)
    assert ran.code == 0, ran.stderr
    warnings = [line for line in ran.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "is switched off for this run" in warnings[0]
    assert curve(run_dir) == curve(tiny_run.run_dir)


def every_byte(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_everything_at_once_over_two_epochs_ends_well_and_keeps_the_key(tiny_run: TinyRun, tmp_path: Path) -> None:
    """Also with a client whose own variables and a look-alike are in the environment: no byte of them is anywhere."""
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    from tests.wandb_file import history

    run_dir = tmp_path / "run"
    everything = sets(
        "monitoring.wandb.enabled=true", "monitoring.wandb.tags=[a, b]", "training.ema_decay=0.9",
        "training.auto_batch=true", "training.max_rollbacks=1", "training.early_stopping.metric=train_loss",
        "model.dropout=0.1", "training.max_steps=45", "training.eval_steps=15", "training.log_steps=5",
    )  # fmt: skip
    arguments = ("train", "-c", str(tiny_run.config), "--data", str(tiny_run.data), "--output-dir", str(run_dir))
    secrets = {"WANDB_MODE": "offline", "WANDB_API_KEY": CANARY, "HF_TOKEN": CANARY + "hf", "MY_PASSWORD": CANARY}
    done = child(*arguments, *everything, folder=tmp_path, env=secrets)
    assert done.returncode == 0, done.stderr.decode()
    assert rows(run_dir)[-1]["reason"] == "completed"
    assert float(str(rows(run_dir, "step")[-1]["epoch"])) > 2
    written = every_byte(tmp_path) + done.stdout + done.stderr
    assert b"train/loss" in written
    assert CANARY.encode() not in written
    assert os.fsencode(sys.executable) not in every_byte(run_dir)

    (record,) = run_dir.glob("wandb/offline-run-*/run-*.wandb")
    logged = history(record)
    steps = [row["_step"] for row in logged]
    assert steps == sorted(set(steps)) == list(range(5, 50, 5))
    told = {row["step"]: row["loss"] for row in rows(run_dir, "step")}
    assert {row["_step"]: row["train/loss"] for row in logged} == told
    averaged = {row["step"]: row["loss"] for row in rows(run_dir, "eval") if row["split"] == "val_ema"}
    assert {row["_step"]: row["val_ema/loss"] for row in logged if "val_ema/loss" in row} == averaged
    assert averaged.keys() == {15, 30, 45}


def test_a_key_on_the_command_line_or_in_a_file_is_refused_unseen(
    tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    (tmp_path / "key.yaml").write_text(f"monitoring:\n  wandb:\n    api_key: {CANARY}\n", encoding="utf-8")
    given: list[tuple[str, str | Path]] = [
        ("-c", tmp_path / "key.yaml"),
        ("--set", f"monitoring.wandb.api_key={CANARY}"),
    ]
    for arguments in given:
        ran = nima("train", *arguments, "--data", tiny_run.data, cwd=tmp_path)
        assert ran.code == 2
        assert CANARY not in ran.stdout + ran.stderr


def test_verify_resume_says_so_in_one_line(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    arguments = ("train", "-c", tiny_run.config, "--data", tiny_run.data, "--verify-resume")
    found = nima(*arguments, "--json", cwd=tmp_path)
    assert found.code == 0, found.stderr
    verdict = found.json()
    assert (verdict["identical"], verdict["difference"], verdict["steps"]) == (True, None, 6)
    assert list(tmp_path.iterdir()) == []
