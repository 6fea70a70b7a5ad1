"""Foreign and damaged files: nothing runs, nothing else is loaded, and each is refused in one line, exit code 3."""

import pickle
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nima_cli.engine.checkpoint.file import Checkpoint, load, save
from nima_cli.errors import CheckpointError
from tests.engine.crafted import Evaluates, LoadsInside, RunsACommand, contents, payload_of, refusal, write_archive

TRUNCATIONS, FLIPS = 200, 500


def test_a_truncated_file_is_always_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    size = save(tmp_path / "good.pt", checkpoint)
    data = (tmp_path / "good.pt").read_bytes()
    for index in range(TRUNCATIONS):
        length = size - 1 - index if index < 20 else (index - 20) * size // (TRUNCATIONS - 20)
        (tmp_path / "cut.pt").write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"cut\.pt: (damaged|not a nima checkpoint)"):
            load(tmp_path / "cut.pt")


def test_a_changed_byte_is_refused_or_changes_nothing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Some bytes of an archive mean nothing (dates, padding); every other change must be noticed."""
    size = save(tmp_path / "good.pt", checkpoint)
    data = (tmp_path / "good.pt").read_bytes()
    expected, header = contents(load(tmp_path / "good.pt")), load(tmp_path / "good.pt").header
    chance = random.Random(0)
    refused = 0
    for index in range(FLIPS):
        # A third of them in the archive's directory at the end, where a byte can change the structure.
        position = chance.randrange(0 if index % 3 else size - size // 20, size)
        changed = bytearray(data)
        changed[position] ^= 1 << chance.randrange(8)
        (tmp_path / "flipped.pt").write_bytes(changed)
        try:
            found = load(tmp_path / "flipped.pt")
        except CheckpointError:
            refused += 1
        else:
            assert contents(found) == expected, f"byte {position} changed what was loaded"
            assert found.header == header
    assert refused > FLIPS // 2


@pytest.mark.parametrize("start", [0.0, 0.3, 0.9])
def test_zeroed_stretches_are_refused(start: float, checkpoint: Checkpoint, tmp_path: Path) -> None:
    size = save(tmp_path / "a.pt", checkpoint)
    changed = bytearray((tmp_path / "a.pt").read_bytes())
    begin = int(start * size)
    changed[begin : begin + size // 10] = bytes(size // 10)
    (tmp_path / "a.pt").write_bytes(changed)
    assert refusal(tmp_path / "a.pt")


def torch_saved(value: Callable[[Path], Any], **options: Any) -> Callable[[Path, Path], None]:
    def write(path: Path, marker: Path) -> None:
        torch.save(value(marker), path, **options)

    return write


def raw_pickle(protocol: int) -> Callable[[Path, Path], None]:
    def write(path: Path, marker: Path) -> None:
        path.write_bytes(pickle.dumps(RunsACommand(marker), protocol=protocol))

    return write


def two_pickles(path: Path, marker: Path) -> None:
    """One archive with two pickles, of which readers may take either."""
    hostile = pickle.dumps(RunsACommand(marker), protocol=2)
    write_archive(path, pickle.dumps({}, protocol=2), extra={"archive/extra/data.pkl": hostile})


def twice_the_same_name(path: Path, marker: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own opinion of this
        hostile = pickle.dumps(RunsACommand(marker), protocol=2)
        write_archive(path, pickle.dumps({}, protocol=2), extra={"archive/data.pkl": hostile})


def other_case(path: Path, marker: Path) -> None:
    hostile = pickle.dumps(RunsACommand(marker), protocol=2)
    write_archive(path, pickle.dumps({}, protocol=2), extra={"archive/DATA.PKL": hostile})


def torchscript(path: Path, marker: Path) -> None:
    hostile = pickle.dumps(RunsACommand(marker), protocol=2)
    write_archive(path, pickle.dumps({}, protocol=2), extra={"archive/constants.pkl": hostile})


HOSTILE: dict[str, Callable[[Path, Path], None]] = {
    "os.system in torch.save": torch_saved(RunsACommand),
    "os.system, deep inside": torch_saved(lambda marker: {"model": {"w": [1, {"x": (RunsACommand(marker),)}]}}),
    "eval in torch.save": torch_saved(Evaluates),
    "a second torch file inside": torch_saved(lambda marker: {"model": LoadsInside(RunsACommand(marker))}),
    "os.system, legacy format": torch_saved(RunsACommand, _use_new_zipfile_serialization=False),
    "os.system, newer pickle protocol": torch_saved(RunsACommand, pickle_protocol=4),
    "raw pickle, protocol 0": raw_pickle(0),
    "raw pickle, protocol 2": raw_pickle(2),
    "raw pickle, protocol 4": raw_pickle(4),
    "a second data.pkl": two_pickles,
    "data.pkl twice": twice_the_same_name,
    "data.pkl in other case": other_case,
    "torchscript": torchscript,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_is_executed(kind: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    HOSTILE[kind](tmp_path / "hostile.pt", marker)
    message = refusal(tmp_path / "hostile.pt")
    assert not marker.exists(), "the file ran its code"
    assert message.startswith(("not a nima checkpoint", "damaged")), message


def test_the_payloads_of_these_tests_do_run_where_nothing_guards(tmp_path: Path) -> None:
    """So the absence of a mark proves that nothing ran."""
    for kind, value in {"a": RunsACommand, "b": Evaluates}.items():
        pickle.loads(pickle.dumps(value(tmp_path / kind)))
        assert (tmp_path / kind).exists()
    inside = LoadsInside(RunsACommand(tmp_path / "c"))
    function, arguments = inside.__reduce__()
    function(*arguments)
    assert (tmp_path / "c").exists()


def test_an_archive_that_two_readers_see_differently_is_refused(tmp_path: Path) -> None:
    """Torch's reader takes names in any case, Python's does not: what was scanned must be what would be loaded."""
    with zipfile.ZipFile(tmp_path / "two.pt", "w") as archive:
        archive.writestr("archive/DATA.PKL", pickle.dumps({"unseen": 1}, protocol=2))
        archive.writestr("archive/data.pkl", pickle.dumps({"scanned": 1}, protocol=2))
        archive.writestr("archive/version", "3\n")
    assert "its archive can be read in two ways" in refusal(tmp_path / "two.pt")


def test_the_refused_function_is_named(tmp_path: Path) -> None:
    torch.save(RunsACommand(tmp_path / "x"), tmp_path / "hostile.pt")
    assert "wants to call `posix.system`" in refusal(tmp_path / "hostile.pt").replace("nt.system", "posix.system")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "hostile.pt")
    assert caught.value.hint is not None
    assert "nothing was executed" in caught.value.hint


def compressed(path: Path, checkpoint: Checkpoint) -> None:
    torch.save(payload_of(checkpoint), path.with_suffix(".plain"))
    with zipfile.ZipFile(path.with_suffix(".plain")) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


def two_folders(path: Path, checkpoint: Checkpoint) -> None:
    torch.save(payload_of(checkpoint), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("elsewhere/data/0", b"x")


def other_zip(path: Path, checkpoint: Checkpoint) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x")


def text_file(content: bytes) -> Callable[[Path, Checkpoint], Any]:
    return lambda path, _: path.write_bytes(content)


FOREIGN: dict[str, tuple[Callable[[Path, Checkpoint], Any], str]] = {
    "empty": (text_file(b""), "not a nima checkpoint: it is empty"),
    "text": (text_file(b"dear reader"), "not a nima checkpoint: it is not a torch archive"),
    "one byte": (text_file(b"P"), "not a nima checkpoint"),
    "only the magic": (text_file(b"PK\x03\x04"), "damaged"),
    "GGUF": (text_file(b"GGUF\x03\0\0\0" + bytes(100)), "looks like a GGUF file"),
    "safetensors": (text_file(b"\x08\0\0\0\0\0\0\0{}      "), "not a nima checkpoint"),
    "HDF5": (text_file(b"\x89HDF\r\n\x1a\n" + bytes(100)), "looks like an HDF5 file"),
    "a whole module": (lambda path, _: torch.save(nn.Linear(2, 2), path), "not a nima checkpoint: wants to call"),
    "a state dict": (lambda path, _: torch.save(nn.Linear(2, 2).state_dict(), path), "another program's torch file"),
    "plain tensors": (lambda path, _: torch.save({"w": torch.zeros(2), "b": 1}, path), "a torch file with `w`, `b`"),
    "a lone tensor": (lambda path, _: torch.save(torch.zeros(2), path), "holds a Tensor, not a dict"),
    "an empty dict": (lambda path, _: torch.save({}, path), "a torch file with nothing"),
    "a legacy file": (
        lambda path, checkpoint: torch.save(payload_of(checkpoint), path, _use_new_zipfile_serialization=False),
        "looks like a legacy pickle",
    ),
    "a zip": (
        lambda path, _: zipfile.ZipFile(path, "w").writestr("a.txt", "x"),
        "a zip archive without a torch pickle",
    ),
    "compressed": (compressed, "compressed"),
    "in two folders": (two_folders, "several folders"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_named_for_what_it_is(kind: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    write, expected = FOREIGN[kind]
    write(tmp_path / "foreign.pt", checkpoint)
    assert expected in refusal(tmp_path / "foreign.pt")


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert "a folder without a nima checkpoint" in refusal(tmp_path / "run")


def test_endless_text_in_a_file_makes_no_endless_message(tmp_path: Path) -> None:
    torch.save({f"{letter}\n" * 5000: 1 for letter in "abc"}, tmp_path / "long.pt")
    assert "a torch file with" in refusal(tmp_path / "long.pt")
