"""What `nima data prepare` answers when the machine refuses: permissions, a file that changes, a full disk."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import Ran

pytestmark = pytest.mark.program
TEXTS = [f"Service {n} restarts after {n * 7} seconds and then reports to its controller." for n in range(20)]

needs_posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users and limits")


def prepare(folder: Path, *args: str, first: str = "", prefix: tuple[str, ...] = ()) -> Ran:
    """Run the real program in `folder`, under `prefix`, after the statements `first` in the same process."""
    code = f"import runpy, sys; {first}sys.argv[0] = 'nima'; runpy.run_module('nima_cli', run_name='__main__')"
    done = subprocess.run(
        [*prefix, sys.executable, "-c", code, "data", "prepare", "--output-dir", "out", *args],
        cwd=folder,
        env={**os.environ, "NIMA_HOME": str(folder / "home"), "NO_COLOR": "1", "COLUMNS": "100"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def bound() -> tuple[str, ...]:
    """A command prefix under which permissions bind even root."""
    if os.geteuid() != 0:
        return ()
    command = shutil.which("setpriv")
    if command is None:
        pytest.skip("root may read everything, and there is no `setpriv` to give that up")
    return (command, "--bounding-set=-dac_override,-dac_read_search")


@needs_posix
def test_row_44_an_unreadable_file_is_the_machines_fault(tmp_path: Path, bound: tuple[str, ...]) -> None:
    (tmp_path / "x.md").write_text("\n\n".join(TEXTS))
    (tmp_path / "x.md").chmod(0)
    ran = prepare(tmp_path, "--text-files", "x.md", prefix=bound)
    assert ran.code == 4
    assert ran.stderr.startswith("error: x.md: cannot read: permission denied")
    assert [path.name for path in tmp_path.iterdir()] == ["x.md"]


@needs_posix
def test_row_46_a_folder_that_may_not_be_written(tmp_path: Path, bound: tuple[str, ...]) -> None:
    (tmp_path / "x.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in TEXTS))
    tmp_path.chmod(0o555)
    ran = prepare(tmp_path, "--jsonl-files", "x.jsonl", prefix=bound)
    tmp_path.chmod(0o755)
    assert ran.code == 4, ran.stderr
    assert ran.stderr.startswith("error: out: cannot ")
    assert "permission denied" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_row_45_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    record = json.dumps({"text": " ".join(TEXTS)}) + "\n"
    (tmp_path / "x.jsonl").write_text(record * 2000)
    done = threading.Event()

    def keep_writing() -> None:
        with (tmp_path / "x.jsonl").open("a") as stream:
            while not done.wait(0.005):
                stream.write(record)
                stream.flush()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        ran = prepare(tmp_path, "--jsonl-files", "x.jsonl")
    finally:
        done.set()
        writer.join()
    assert ran.code == 2, ran.stderr
    assert "error: x.jsonl: changed while reading" in ran.stderr
    assert "hint: run again when it no longer changes" in ran.stderr
    assert not (tmp_path / "out").exists()


@needs_posix
def test_row_48_a_disk_that_fills_leaves_the_old_dataset(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in TEXTS))
    assert prepare(tmp_path, "--jsonl-files", "x.jsonl").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
    ran = prepare(tmp_path, "--jsonl-files", "x.jsonl", "--overwrite", "--seed", "7", first=full)
    assert ran.code == 4, ran.stderr
    assert ran.stderr.splitlines()[-1].startswith(("error: ", "hint: "))
    assert "Traceback" not in ran.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["out", "x.jsonl"]
