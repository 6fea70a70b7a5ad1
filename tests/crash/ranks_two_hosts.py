"""Two network namespaces as two hosts: one run across them, and what happens when the cable is cut.

`make torture` runs it. It needs root on Linux and the `ip` command, and skips itself without.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nima_cli.engine.checkpoint import file as checkpoints
from tests.cli.programs import CONFIG, environment, rows, wait_for

HOSTS = ("nima-test-a", "nima-test-b")
ADDRESSES = ("10.231.77.1", "10.231.77.2")
RUN = (
    "--set", "monitoring.tensorboard=false", "--set", "monitoring.plots=false",
    "--set", "evaluation.generation.enabled=false", "--set", "model.dropout=0.1",
)  # fmt: skip


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True, timeout=30)


@pytest.fixture
def cable() -> Iterator[None]:
    """Two hosts with a cable between them."""
    if shutil.which("ip") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs root and the `ip` command, to make two network namespaces")
    try:
        for host in HOSTS:
            _ip("netns", "add", host)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    try:
        _ip("link", "add", "cable", "netns", HOSTS[0], "type", "veth", "peer", "name", "cable", "netns", HOSTS[1])
        for host, address in zip(HOSTS, ADDRESSES, strict=True):
            _ip("-n", host, "addr", "add", f"{address}/24", "dev", "cable")
            for device in ("cable", "lo"):
                _ip("-n", host, "link", "set", device, "up")
        yield
    finally:
        for host in HOSTS:
            _ip("netns", "del", host)


def _start(node: int, tmp_path: Path, dataset: Path, *args: str) -> "subprocess.Popen[bytes]":
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    torchrun = (
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(node),
        "--nproc-per-node", "1", "--master-addr", ADDRESSES[0], "--master-port", "29400", "-m", "nima_cli",
    )  # fmt: skip
    train = ("train", "-c", config, "--data", dataset, "--output-dir", tmp_path / "two", *RUN, *args)
    return subprocess.Popen(
        ["ip", "netns", "exec", HOSTS[node], *torchrun, *map(str, train)],
        env=environment(tmp_path / "home", {"GLOO_SOCKET_IFNAME": "cable"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_two_hosts_learn_what_one_process_does(cable: None, tiny_dataset: Path, tmp_path: Path) -> None:
    nodes = [_start(node, tmp_path, tiny_dataset) for node in (0, 1)]
    said = [node.communicate(timeout=240)[0].decode() for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    train = ("train", "-c", tmp_path / "tiny.yaml", "--data", tiny_dataset, "--output-dir", tmp_path / "one", *RUN)
    subprocess.run(
        [sys.executable, "-m", "nima_cli", *map(str, train)],
        env=environment(tmp_path / "home"), check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    for event in ("step", "eval"):
        losses = [[float(str(row["loss"])) for row in rows(tmp_path / name, event)] for name in ("one", "two")]
        assert losses[0]
        assert losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_a_cut_cable_ends_both_hosts(cable: None, tiny_dataset: Path, tmp_path: Path) -> None:
    long = ("--max-steps", "900", "--set", "training.eval_steps=900", "--set", "training.save_steps=2")
    nodes = [_start(node, tmp_path, tiny_dataset, *long) for node in (0, 1)]
    metrics = tmp_path / "two" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and '"event": "saved"' in metrics.read_text("utf-8"), 240)
    _ip("-n", HOSTS[1], "link", "set", "cable", "down")
    cut = time.monotonic()
    said = [node.communicate(timeout=120)[0].decode() for node in nodes]
    print(f"both hosts ended within {time.monotonic() - cut:.0f} s")
    assert all(node.returncode != 0 for node in nodes), said
    assert "lost contact with another process" in said[0]
    assert checkpoints.newest_valid(tmp_path / "two")[1].header["step"] >= 2
