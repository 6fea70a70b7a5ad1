"""The engine on a real Ray cluster: the same bytes, a worker that dies, and what a cluster can lack."""

import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.ray_mapper import check_machine, own_versions
from nima_cli.errors import ResourceError
from tests.conftest import RunCli

ROOT = Path(__file__).parents[3]
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or sys.platform != "linux",
    reason="needs Linux and Ray: `pip install -c constraints.txt -e '.[ray]'`",
)


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name[0] != "."
    }


def write_input(folder: Path) -> None:
    """Small files, and one of lines that is cut into 4 pieces."""
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.md").write_text(f"# Part {number}\n\n" + f"Paragraph {number} of a guide.\n\n" * 50)
    with (folder / "lines.jsonl").open("w") as stream:
        for number in range(30_000):
            words = " ".join(hashlib.sha256(b"%d %d" % (number, i)).hexdigest()[: 3 + i] for i in range(12))
            stream.write(json.dumps({"text": f"Record {number}: {words}"}) + "\n")


def workers_of(parent: int) -> Iterator[int]:
    """Processes below `parent` that are at work on a task; Ray writes into their title what they do."""
    threads = Path(f"/proc/{parent}/task").glob("*/children")
    for child in (child for thread in threads for child in thread.read_text().split()):
        try:
            if Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"ray::_packed"):
                yield int(child)
            yield from workers_of(int(child))
        except OSError:
            continue


def kill_one_worker(process: "subprocess.Popen[bytes]", spool: Path) -> bool:
    """SIGKILL a worker that reads, when others have brought results already; whether there was one."""
    while process.poll() is None:
        found = next(spool.parent.parent.glob(f".staging-*/{spool.name}"), None)
        if found is not None and found.exists() and found.stat().st_size > 0:
            for worker in workers_of(process.pid):
                os.kill(worker, signal.SIGKILL)
                return True
        time.sleep(0.002)
    return False


@needs_ray
@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_also_when_a_worker_is_killed(run_cli: RunCli, tmp_path: Path) -> None:
    write_input(tmp_path / "in")
    common = ["data", "prepare", "--source", "in", "--vocab-size", "1024", "--json"]
    alone = run_cli(*common, "--output-dir", "alone", "--workers", "1", cwd=tmp_path)
    assert alone.code == 0, alone.stderr
    command = [sys.executable, "-m", "nima_cli", *common, "--output-dir", "spread", "--engine", "ray", "--workers", "2"]
    environment = {**os.environ, "NIMA_HOME": str(tmp_path / "home"), "RAY_ADDRESS": "nowhere:1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        killed = kill_one_worker(process, tmp_path / "spread" / ".staging" / "documents.spool")
        stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr.decode()
    assert killed
    assert b"ray" not in stderr.lower()
    assert {**json.loads(stdout), "path": ""} == {**alone.json(), "path": ""}
    assert hashes(tmp_path / "spread") == hashes(tmp_path / "alone")


@needs_ray
@pytest.mark.slow
def test_mapping_over_a_cluster(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.data.ray_tasks"],
        capture_output=True, cwd=ROOT, check=False, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["first"] == [2 * number for number in range(100, 120)]
    assert found["taken"] <= 20 + 3 * 2
    assert found["array"] == 2 * 2**20
    assert found["signal"]
    assert found["error"] == ["DataError", "thirteen", "take another"]
    assert found["dies"][:1] == ["ResourceError"]
    assert "ended again and again" in found["dies"][1]
    assert found["unseen"][0] == "ResourceError"
    assert "cannot see this folder" in found["unseen"][1]
    assert "raylet" not in done.stderr


def prepared_on(cluster: str, corpus: Path, folder: Path) -> None:
    config = DataConfig(sources=[SourceConfig(path=str(corpus))], vocab_size=512)
    list(prepare(config, folder, overwrite=False, workers=2, cluster=cluster))


def test_ray_that_is_missing_is_said_to_be(tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ResourceError, match="`ray` is missing") as caught:
        prepared_on("local", tiny_corpus, tmp_path / "out")
    assert "nima[ray]" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


def test_an_address_where_nobody_answers_is_refused_at_once(tiny_corpus: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ResourceError, match=f"{address}: no Ray cluster to work on: .*refused"):
        prepared_on(address, tiny_corpus, tmp_path / "out")


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--engine", "spark"], "--engine spark: expected one of `local`, `ray`"),
        (["--ray-address", "head:6379"], "only `--engine ray` uses it"),
        (["--engine", "ray", "--ray-address", "head:6379", "--workers", "2"], "has its own"),
    ],
)
def test_flags_that_contradict_each_other(
    run_cli: RunCli, tiny_corpus: Path, tmp_path: Path, flags: list[str], what: str
) -> None:
    ran = run_cli("data", "prepare", "--text-files", tiny_corpus, "--output-dir", tmp_path / "out", *flags)
    assert (ran.code, ran.stdout) == (2, "")
    assert what in ran.stderr
    assert not (tmp_path / "out").exists()


def test_a_worker_looks_for_what_it_needs(tmp_path: Path) -> None:
    check_machine((tmp_path,), own_versions())
    with pytest.raises(ResourceError) as unseen:
        check_machine((tmp_path, tmp_path / "none"), own_versions())
    assert unseen.value.message.startswith(f"{tmp_path / 'none'}: the Ray worker on {socket.gethostname()} cannot see")
    with pytest.raises(ResourceError, match=r"this is nima 0\.0\.1 and Python 3\.2"):
        check_machine((), ("0.0.1", "3.2"))
