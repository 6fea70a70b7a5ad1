"""Weights & Biases: the real client, offline, in a process of its own; nothing secret, nothing of the machine."""

import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from nima_cli.config.schema import WandbConfig
from nima_cli.errors import ResourceError
from nima_cli.loggers.wandb import WandbLogger
from tests import recorded_run as run

CANARY = "c0ffee" * 6 + "cafe"

PROGRAM = """
import socket, sys
from pathlib import Path

def watch(name, args):
    if name == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in ("127.0.0.1", "::1", "localhost"):
        print("CONNECT", args[1])
    if name == "socket.getaddrinfo" and args[0] not in ("127.0.0.1", "::1", "localhost", None):
        print("LOOKUP", args[0])

sys.addaudithook(watch)
from nima_cli.config.schema import WandbConfig
from nima_cli.loggers.wandb import WandbLogger
from tests import recorded_run as run

logger = WandbLogger(WandbConfig(enabled=True, project="docs", tags=["a"]), tell=lambda text: print("TOLD", text))
for event in run.whole_run(Path(sys.argv[1])):
    logger(event)
logger.close()
print("FILES", [m for m in ("torch", "tensorflow") if m in sys.modules])
"""


@pytest.fixture(autouse=True)
def _same_environment_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logger sets this variable for the client when it is unset."""
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


def train(run_dir: Path, home: Path, **variables: str) -> tuple[str, str]:
    """What a run with the logger prints on stdout and stderr."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("WANDB") and key != "NETRC"}
    command = [sys.executable, "-c", PROGRAM, str(run_dir), "--secret-argument"]
    done = subprocess.run(
        command,
        env={**keep, "HOME": str(home), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout, done.stderr


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_without_a_key_the_run_is_kept_offline_and_nobody_is_asked(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    told, stderr = train(run_dir, tmp_path)
    assert told.splitlines() == [
        f"TOLD wandb: no API key; metrics are kept in {run_dir / 'wandb'}, `wandb sync` sends them later",
        "FILES []",
    ]
    assert stderr == ""
    (record,) = run_dir.glob("wandb/offline-run-*/run-*.wandb")
    data = record.read_bytes()
    for part in (b"train/loss", b"val/bits_per_byte", b"samples/The module", b"gpt-tiny", b"completed"):
        assert part in data


def test_a_server_out_of_reach_keeps_the_run_offline(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    told, stderr = train(
        run_dir, tmp_path, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=CANARY, WANDB_HTTP_TIMEOUT="1"
    )
    first, *rest = told.splitlines()
    assert first.startswith("TOLD wandb: ")
    assert first.endswith(f"metrics are kept in {run_dir / 'wandb'}, `wandb sync` sends them later")
    assert (rest, stderr) == (["FILES []"], "")
    assert b"train/loss" in contents(run_dir)
    assert CANARY.encode() not in contents(tmp_path)


def test_no_secret_and_nothing_of_the_machine_is_written(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    told, stderr = train(run_dir, tmp_path, WANDB_MODE="offline", WANDB_API_KEY=CANARY)
    assert told.splitlines() == ["FILES []"]
    assert stderr == ""
    written = contents(run_dir)
    assert b"train/loss" in written
    for secret in (CANARY, "--secret-argument", str(Path.cwd())):
        assert secret.encode() not in written
    assert not list(run_dir.rglob("requirements.txt"))
    assert not list(run_dir.rglob("wandb-metadata.json"))


def test_the_id_of_the_run_lasts_over_resumes(tmp_path: Path) -> None:
    for _ in range(2):
        train(tmp_path / "run", tmp_path, WANDB_MODE="offline")
    records = list((tmp_path / "run").glob("wandb/offline-run-*/run-*.wandb"))
    assert len({path.name for path in records}) == 1


def test_a_switched_off_client_writes_no_record(tmp_path: Path) -> None:
    told, _ = train(tmp_path / "run", tmp_path, WANDB_MODE="disabled")
    assert told.splitlines() == ["FILES []"]
    assert not list((tmp_path / "run").rglob("*.wandb"))


def test_a_missing_package_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    logger = WandbLogger(WandbConfig(), tell=pytest.fail)
    logger(run.started(tmp_path))
    with pytest.raises(ResourceError, match="`wandb` is missing") as failure:
        logger.close()
    assert "pip install" in (failure.value.hint or "")


def test_a_client_that_hangs_delays_neither_training_nor_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = types.ModuleType("wandb")
    stuck.Settings = type("Settings", (), {"model_fields": {}})  # type: ignore[attr-defined]
    stuck.setup = stuck.init = lambda **_: time.sleep(20)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", stuck)
    logger = WandbLogger(WandbConfig(), tell=pytest.fail, patience=0.2)
    for event in run.whole_run(tmp_path):
        logger(event)
    with pytest.raises(ResourceError, match=r"not done after 0\.2 s"):
        logger.close()


def test_a_client_that_fails_is_heard_at_the_next_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = types.ModuleType("wandb")
    monkeypatch.setitem(sys.modules, "wandb", broken)  # has no Settings
    logger = WandbLogger(WandbConfig(), tell=pytest.fail)
    logger(run.started(tmp_path))

    def go_on() -> None:
        for _ in range(500):
            time.sleep(0.01)
            logger(run.step(1))

    with pytest.raises(AttributeError):
        go_on()
