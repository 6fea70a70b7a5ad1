"""Foreign, damaged and hostile files given to every command that reads a checkpoint: exit 3, one line, nothing done."""

import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nima_cli.engine.checkpoint.file import Checkpoint, load
from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, contents, refused
from tests.engine.crafted import Claim, Evaluates, LoadsInside, RunsACommand, payload_of, write_archive, write_claims


def doubled_tuple(depth: int) -> bytes:
    """A pickle of a few bytes whose one key is a tuple of 2^depth items: its hash would take for ever."""
    twice = b"".join(b"q" + bytes([number]) + b"h" + bytes([number]) + b"\x86" for number in range(depth))
    return b"\x80\x02})" + twice + b"K\x01s."


def deep_tuple(depth: int) -> bytes:
    """A key of tuples within tuples: hashing it would overflow the stack of the process."""
    return b"\x80\x02})" + b"\x85" * depth + b"K\x01s."


def deep_list(depth: int) -> bytes:
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def item_in_a_tensor(path: Path) -> None:
    """Unpickling this would set an item in what a call has returned."""
    write_claims(path, {"a": Claim((16,), (1,))})
    with zipfile.ZipFile(path) as archive:
        data = archive.read("archive/data.pkl")
    inside = data[: data.rindex(b"s.")]
    write_archive(path, inside + b"NK\x05ss.", extra={"archive/data/0": bytes(64)})


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, Checkpoint], None]:
    def write(path: Path, checkpoint: Checkpoint) -> None:
        payload = payload_of(checkpoint)
        change(payload)
        torch.save(payload, path)

    return write


def shape(**sizes: int) -> Callable[[Path, Checkpoint], None]:
    def change(payload: dict[str, Any]) -> None:
        header = json.loads(payload["header"])
        header["model_shape"].update(sizes)
        payload["header"] = json.dumps(header)

    return changed(change)


def other_folder(path: Path, checkpoint: Checkpoint) -> None:
    path.mkdir()
    (path / "a.txt").touch()


def cut(path: Path, checkpoint: Checkpoint) -> None:
    changed(lambda payload: None)(path, checkpoint)
    path.write_bytes(path.read_bytes()[:-500])


def zeroed(path: Path, checkpoint: Checkpoint) -> None:
    changed(lambda payload: None)(path, checkpoint)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def flipped(path: Path, checkpoint: Checkpoint) -> None:
    changed(lambda payload: None)(path, checkpoint)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def raw(data: bytes) -> Callable[[Path, Checkpoint], Any]:
    return lambda path, _: path.write_bytes(data)


def saved(value: Callable[[Path], Any], **options: Any) -> Callable[[Path, Checkpoint], None]:
    return lambda path, _: torch.save(value(path.with_name("executed")), path, **options)


def archived(data: bytes) -> Callable[[Path, Checkpoint], Any]:
    return lambda path, _: write_archive(path, data)


def with_tensor(tensor: torch.Tensor) -> Callable[[Path, Checkpoint], None]:
    return changed(lambda payload: payload["model"].__setitem__("norm.weight", tensor))


# The rows of the reliability table, 72 to 85.
ROWS: dict[str, tuple[Callable[[Path, Checkpoint], Any], str]] = {
    "72 empty": (raw(b""), "it is empty"),
    "72 a folder of other things": (other_folder, "it holds a.txt"),
    "73 text": (raw(b"dear reader"), "not a nima checkpoint"),
    "73 a zip": (lambda path, _: zipfile.ZipFile(path, "w").writestr("a", "x"), "not a nima checkpoint"),
    "73 safetensors": (raw(b"\x08" + bytes(7) + b'{"a":1}   '), "not a nima checkpoint"),
    "73 GGUF": (raw(b"GGUF\x03\0\0\0" + bytes(64)), ""),  # read as a model of others, where one can be
    "73 a state dict": (saved(lambda _: {"w": torch.zeros(2)}), "not a nima checkpoint"),
    "74 truncated": (cut, "damaged"),
    "74 zero-filled": (zeroed, "damaged"),
    "74 flipped": (flipped, "damaged"),
    "75 a command": (saved(RunsACommand), "wants to call"),
    "75 eval": (saved(Evaluates), "wants to call"),
    "75 a file in the file": (saved(lambda mark: {"model": LoadsInside(RunsACommand(mark))}), "wants to call"),
    "75 a raw pickle": (lambda path, _: path.write_bytes(pickle.dumps(RunsACommand(path.with_name("executed")))), ""),
    "75 legacy": (saved(RunsACommand, _use_new_zipfile_serialization=False), "looks like a legacy pickle"),
    "75 a whole module": (saved(lambda _: nn.Linear(2, 2)), "wants to call"),
    "75 a doubled tuple": (archived(doubled_tuple(60)), "keys of another kind"),
    "75 a deep tuple": (archived(deep_tuple(1 << 17)), "keys of another kind"),
    "75 a deep list": (archived(deep_list(1 << 17)), "holds a list, not a dict"),
    "75 an item in a tensor": (lambda path, _: item_in_a_tensor(path), "another program's torch file"),
    "76 sparse": (with_tensor(torch.zeros(32).to_sparse()), "wants to call"),
    "76 complex": (with_tensor(torch.zeros(32, dtype=torch.complex64)), "wants to call"),
    "76 meta": (with_tensor(torch.zeros(32, device="meta")), "wants to call"),
    "76 a giant view": (lambda path, _: write_claims(path, {"model": Claim((1 << 40,), (0,))}), "not a nima"),
    "77 missing": (changed(lambda payload: payload["model"].pop("norm.weight")), "`norm.weight` is missing"),
    "77 wrong shape": (with_tensor(torch.zeros(7)), "`norm.weight` is (7,)"),
    "77 NaN": (with_tensor(torch.full((32,), float("nan"))), "not finite"),
    "78 a thousand million layers": (shape(n_layers=10**9), "`n_layers` is 1000000000"),
    "78 a huge vocabulary": (shape(vocab_size=2**31), "`vocab_size` is 2147483648"),
    "79 a corrupt tokenizer": (changed(lambda payload: payload.update(tokenizer=payload["tokenizer"][9:].clone())), ""),
    "81 newer": (changed(lambda payload: payload.update(nima_format=9)), "in format 9; this is nima"),
}


@pytest.fixture(scope="module")
def checkpoint(tiny_run: TinyRun) -> Checkpoint:
    found = load(tiny_run.run_dir / "checkpoint_last.pt")
    found.optimizer = None
    return found


@pytest.mark.parametrize("row", ROWS)
def test_a_bad_checkpoint_is_refused_by_every_command(
    row: str, checkpoint: Checkpoint, tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    write, expected = ROWS[row]
    path = tmp_path / "file.pt"
    write(path, checkpoint)
    before = contents(tmp_path)
    data = ("--data", tiny_run.data)
    commands: list[tuple[str | Path, ...]] = [
        ("generate", "--checkpoint", path, "--prompt", "a"),
        ("eval", "--checkpoint", path, *data),
        ("chat", "--checkpoint", path, "--once", "a"),
        ("train", "-c", tiny_run.config, *data, "--output-dir", tmp_path / "run", "--init-from", path),
    ]
    if path.is_file():
        commands.append(("train", *data, "--resume", path))
    for command in commands:
        line = refused(nima(*command, cwd=tmp_path), 3)
        assert str(path) in line
        assert expected in line
    assert contents(tmp_path) == before, "something was executed or written"


def test_a_missing_file_and_weights_without_an_optimizer(
    checkpoint: Checkpoint, tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    """Rows 72 and 82."""
    for command in (("generate", "--prompt", "a", "--checkpoint"), ("eval", "--checkpoint"), ("train", "--resume")):
        assert "no such checkpoint" in refused(nima(*command, tmp_path / "missing.pt", cwd=tmp_path), 3)
    changed(lambda payload: None)(tmp_path / "weights.pt", checkpoint)
    ran = nima("train", "--data", tiny_run.data, "--resume", tmp_path / "weights.pt")
    assert "has no optimizer state" in refused(ran, 3)
    assert "hint: use `--init-from` to start from it" in ran.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes and permissions")
def test_a_pipe_does_not_hang_and_a_closed_file_is_named(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    """Rows 43 and 85."""
    os.mkfifo(tmp_path / "pipe.pt")
    ran = nima("generate", "--checkpoint", tmp_path / "pipe.pt", "--prompt", "a")
    assert "it is no regular file" in refused(ran, 3)
    if os.geteuid():
        closed = tiny_run.copy(tmp_path) / "checkpoint_best.pt"
        closed.chmod(0)
        assert "permission denied" in refused(nima("generate", "--checkpoint", closed, "--prompt", "a"), 4)
