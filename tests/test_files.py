"""Files are written whole or not at all, and a folder has one holder, however the last one ended."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nima_cli.errors import CheckpointError, ResourceError
from nima_cli.files import (
    atomic_write,
    check_free_space,
    check_writable,
    explain,
    folder_lock,
    link_or_copy,
    make_folder,
    sha256_file,
    sweep_temporary,
    write_json,
    write_text,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions, limits and signals")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(path: Path, error: BaseException) -> None:
    with atomic_write(path) as stream:
        stream.write(b"half")
        raise error


def test_a_finished_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as stream:
        stream.write(b"new and longer")
        stream.flush()
        assert path.read_bytes() == b"old", "a reader must see the old file until the new one is complete"
    assert path.read_bytes() == b"new and longer"
    assert names(tmp_path) == ["weights.bin"]


@posix
def test_the_data_is_durable_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def rename(part: Path, path: Path) -> None:
        assert Path(part).parent == Path(path).parent
        calls.append("replace")
        replace(part, path)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    write_text(tmp_path / "a.txt", "text")
    assert calls == ["file", "replace", "folder"]


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_a_writer_that_fails_changes_nothing(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(error)):
        write_half(path, error)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["weights.bin"]


def test_what_verification_refuses_never_gets_the_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    seen: list[bytes] = []

    def verify(part: Path) -> None:
        seen.append(part.read_bytes())
        assert path.read_bytes() == b"old"
        raise CheckpointError("it cannot be read back")

    with pytest.raises(CheckpointError, match="read back"), atomic_write(path, verify=verify) as stream:
        stream.write(b"new")
    assert seen == [b"new"]
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["weights.bin"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "no space left on the disk"),
        (errno.EDQUOT, "disk quota exceeded"),
        (errno.EIO, os.strerror(errno.EIO).lower()),
    ],
)
def test_a_full_disk_is_a_resource_error_and_changes_nothing(number: int, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with pytest.raises(ResourceError, match=reason) as caught:
        write_half(path, OSError(number, os.strerror(number)))
    assert caught.value.message.startswith(f"{path}: cannot write")
    assert caught.value.exit_code == 4
    assert (caught.value.hint is not None) == (number != errno.EIO)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["weights.bin"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from nima_cli.errors import ResourceError
from nima_cli.files import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    with atomic_write(Path(sys.argv[1])) as stream:
        stream.write(bytes(1 << 20))
except ResourceError as error:
    print(error.message)
"""


@posix
def test_a_real_refusal_of_the_system_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    script = [sys.executable, "-c", textwrap.dedent(LIMITED), str(path)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=30, check=True)
    assert "larger than this system allows" in done.stdout
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["weights.bin"]


KILLED = """
import os, signal, sys
from pathlib import Path
from nima_cli.files import atomic_write
with atomic_write(Path(sys.argv[1])) as stream:
    stream.write(bytes(1 << 20))
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@posix
def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    script = [sys.executable, "-c", textwrap.dedent(KILLED), str(path)]
    assert subprocess.run(script, timeout=30, check=False).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(mask: int, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    before = os.umask(mask)
    try:
        write_text(path, "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_text_is_utf8_with_its_own_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "größe\nline\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "größe\nline\r\n".encode()


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"name": "größe", "loss": 1.5})
    assert json.loads(path.read_text("utf-8")) == {"name": "größe", "loss": 1.5}
    old = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert path.read_bytes() == old


def test_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_is_made_and_proved_writable(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="is a file, not a folder"):
        make_folder(tmp_path / "file")
    with pytest.raises(ResourceError, match="cannot create this folder: a parent of it is a file"):
        make_folder(tmp_path / "file" / "below")


@posix
def test_a_folder_that_takes_no_file_is_not_left_behind(tmp_path: Path) -> None:
    script = [sys.executable, "-c", textwrap.dedent(NO_ROOM), str(tmp_path / "a" / "b"), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=30, check=True)
    assert [line.split(": ")[1] for line in done.stdout.splitlines()] == ["cannot write in this folder"] * 3
    assert names(tmp_path) == []


NO_ROOM = """
import resource, sys
from pathlib import Path
from nima_cli.errors import ResourceError
from nima_cli.files import check_writable, make_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
for check, path in (make_folder, sys.argv[1]), (check_writable, sys.argv[1]), (check_writable, sys.argv[2]):
    try:
        check(Path(path))
    except ResourceError as error:
        print(error.message)
"""


def test_a_place_can_be_asked_about_without_making_it(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    check_free_space(tmp_path / "a" / "b", 1)
    with pytest.raises(ResourceError, match=r"a/b: 1,000,000,000,000 MB are needed for checkpoints, .* MB are free"):
        check_free_space(tmp_path / "a" / "b", 10**18)
    assert names(tmp_path) == []


def test_only_what_writers_left_is_swept(tmp_path: Path) -> None:
    litter = [".weights.bin.12.tmp", ".probe.7.tmp", ".probe.7.done.tmp"]
    others = ["weights.bin.12.tmp", ".weights.bin.tmp", ".weights.bin.12.tmp.bak", ".weights.bin.x.tmp", "weights.bin"]
    for name in litter + others:
        (tmp_path / name).touch()
    (tmp_path / ".folder.1.tmp").mkdir()
    sweep_temporary(tmp_path)
    assert names(tmp_path) == sorted([*others, ".folder.1.tmp"])
    sweep_temporary(tmp_path / "missing")


def test_an_unknown_failure_keeps_the_system_s_own_words() -> None:
    error = explain(OSError(errno.EBUSY, os.strerror(errno.EBUSY)), Path("a"), "read")
    assert error.message == f"a: cannot read: {os.strerror(errno.EBUSY).lower()}"


HOLDER = """
import sys, time
from pathlib import Path
from nima_cli.files import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@posix
def test_a_second_holder_is_refused_until_the_first_is_gone_even_by_kill(tmp_path: Path) -> None:
    run = tmp_path / "run"
    script = [sys.executable, "-c", textwrap.dedent(HOLDER), str(run)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ResourceError, match=rf"in use by pid {holder.pid} on ") as caught, folder_lock(run):
            pass
        assert caught.value.exit_code == 4
        assert caught.value.hint is not None
        holder.kill()
        holder.wait(timeout=30)
    with folder_lock(run):
        assert f"pid {os.getpid()} " in (run / ".lock.owner").read_text("utf-8")


def test_a_refused_holder_does_not_disturb_the_first(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        owner = (tmp_path / ".lock.owner").read_text("utf-8")
        for _ in range(2):
            with pytest.raises(ResourceError, match=f"pid {os.getpid()} "), folder_lock(tmp_path):
                pass
        assert (tmp_path / ".lock.owner").read_text("utf-8") == owner
    with folder_lock(tmp_path):
        pass


def test_the_lock_is_released_when_its_holder_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a bug"), folder_lock(tmp_path):
        raise ValueError("a bug")
    with folder_lock(tmp_path):
        pass
    assert not (tmp_path / ".lock.owner").exists()


def test_a_second_name_replaces_what_had_it_and_leaves_nothing_else(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    for _ in range(2):  # the second time both are the same file already
        link_or_copy(source, target)
        assert target.read_bytes() == b"new"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]
