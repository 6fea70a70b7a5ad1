"""Headers that lie, and files with any byte changed: one line each, before memory is taken."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.pretrained.hf.safetensors_header import read_header
from nima_cli.errors import CheckpointError
from tests.engine.pretrained.others import ends_in_one_line, random_model, save_folder


def write(path: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape: list[Any], start: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def refused(path: Path) -> str:
    with path.open("rb") as file, pytest.raises(CheckpointError) as caught:
        read_header(file)
    message = caught.value.message.removeprefix(f"{path}: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 300
    return message


def test_what_the_package_writes_is_found(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.zeros(())}
    safetensors.save_file(tensors, tmp_path / "x", metadata={"format": "pt"})
    with (tmp_path / "x").open("rb") as file:
        found = read_header(file)
        assert {name: (one.dtype, one.shape) for name, one in found.items()} == {
            "a": ("F32", (2, 3)), "b": ("BF16", (4,)), "c": ("F32", ()),
        }  # fmt: skip
        file.seek(found["a"].start)
        assert file.read(found["a"].nbytes) == tensors["a"].numpy().tobytes()


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (b"", b"", "its header would have 0 bytes"),
        (b"[]", b"", "its header is not an object"),
        (b"{ ", b"", "not JSON"),
        (b"\xff\xff", b"", "not UTF-8"),
        (b"[" * 100_000, b"", "nested too deeply"),
        (b'{"a":' * 100_000, b"", "nested too deeply"),
        (b'{"a":1,"a":1}', b"", "`a` occurs twice"),
        ({"a": 5}, b"", "`a` has no type, shape or place"),
        ({"a": {"dtype": "F32", "shape": 3, "data_offsets": [0, 4]}}, b"", "`a` has no type, shape or place"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, b"", "`a` has no type"),
        ({"a": entry([1], 0, 4, ["F32"])}, bytes(4), "`a` is of the type list"),
        ({"a": entry([1], 0, 1, "F8_E4M3")}, bytes(1), "`a` is of the type F8_E4M3, nima reads F32, F16, BF16"),
        ({"a": entry([1], 0, 4)}, bytes(3), "its tensors end at byte"),
        ({"a": entry([1], 0, 4)}, bytes(5), "its tensors end at byte"),
        ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12), "`b` overlap others"),
        ({"a": entry([1], 4, 8)}, bytes(8), "`a` overlap others, or leave a gap"),
        ({"a": entry([1 << 20, 1 << 20, 1 << 20], 0, 4)}, bytes(4), "`a` has 4 bytes, not those of"),
        ({"a": entry([1], 0, 1 << 62)}, bytes(4), "`a` has 4,611,686,018,427,387,904 bytes"),
        ({"a": entry([-1], 0, -4)}, bytes(4), "`a` has a size or place that is no number of bytes"),
        ({"a": entry([1.0], 0, 4)}, bytes(4), "`a` has a size or place"),
        ({"a": entry([1] * 1000, 0, 4)}, bytes(4), "`a` has a size or place"),
        ({"a": entry([10**300], 0, 4)}, bytes(4), "`a` has a size or place"),
        ({"a": entry([True], 0, 4)}, bytes(4), "`a` has a size or place"),
    ],
)
def test_a_header_that_lies_is_refused(header: Any, data: bytes, message: str, tmp_path: Path) -> None:
    assert message in refused(write(tmp_path / "x", header, data))


@pytest.mark.parametrize("length", [0, 1, 10**6, 1 << 62, (1 << 64) - 1])
def test_a_length_that_lies_is_refused(length: int, tmp_path: Path) -> None:
    assert f"its header would have {length:,} bytes" in refused(write(tmp_path / "x", {}, bytes(99), length=length))
    (tmp_path / "x").write_bytes(b"abc")
    assert "its header would have" in refused(tmp_path / "x")


def test_a_header_of_a_hundred_megabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.write(struct.pack("<Q", 100 << 20) + b"[")
        file.truncate(200 << 20)  # no blocks are taken
    assert "its header would have 104,857,600 bytes" in refused(tmp_path / "x")


def test_hundreds_of_thousands_of_tensors_are_refused(tmp_path: Path) -> None:
    header = ",".join(f'"{name}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for name in range(300_000))
    assert "its header would have" in refused(write(tmp_path / "x", f"{{{header}}}".encode()))


def test_no_changed_or_missing_byte_has_any_other_end_than_one_line(tmp_path: Path) -> None:
    folder = save_folder(random_model("llama", num_hidden_layers=1), tmp_path / "theirs")
    path = folder / "model.safetensors"
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    generator = torch.Generator().manual_seed(0)
    refused_files = 0
    for place in [*range(8), *torch.randint(8, header, (120,), generator=generator).tolist()]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(torch.randint(8, (), generator=generator))
        path.write_bytes(changed)
        refused_files += ends_in_one_line(folder)
    for length in [0, 7, 8, 9, header - 1, header, len(content) - 1]:
        path.write_bytes(content[:length])
        assert ends_in_one_line(folder)
    assert refused_files > 60
