"""Headers of GGUF files that lie, written byte by byte, and files with any byte changed."""

import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.pretrained.gguf.header import Header, read_header
from nima_cli.errors import CheckpointError
from tests.engine.pretrained.others import ends_in_one_line, random_model, save_gguf

gguf = pytest.importorskip("gguf")
U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10


def text(value: str | bytes, length: int | None = None) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(content) if length is None else length) + content


def field(key: str, kind: int, content: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + content


def array(kind: int, count: int, content: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + content


def tensor(name: str, shape: tuple[int, ...], offset: int, kind: int = 0) -> bytes:
    """An entry; the shape has the rows first, as in torch."""
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, offset)


def header(
    *, fields: tuple[bytes, ...] = (), tensors: tuple[bytes, ...] = (), version: int = 3, counts: tuple[int, ...] = ()
) -> bytes:
    numbers = counts or (len(tensors), len(fields))
    return b"GGUF" + struct.pack("<IQQ", version, *numbers) + b"".join(fields) + b"".join(tensors)


def read(path: Path) -> Header:
    with path.open("rb") as file:
        return read_header(file)


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = caught.value.message.removeprefix(f"{path}: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 300
    return message


def test_every_kind_of_value_and_the_place_of_a_tensor_are_read(tmp_path: Path) -> None:
    numbers: dict[int, tuple[str, Any]] = {
        0: ("B", 200), 1: ("b", -5), 2: ("H", 60000), 3: ("h", -300), U32: ("I", 1 << 31), 5: ("i", -9),
        F32: ("f", 0.5), BOOL: ("?", True), U64: ("Q", 1 << 63), 11: ("q", -(1 << 62)), 12: ("d", 0.1),
    }  # fmt: skip
    fields = [field(f"n{kind}", kind, struct.pack(f"<{code}", value)) for kind, (code, value) in numbers.items()]
    fields += [field("s", STRING, text("hé")), field("a", ARRAY, array(STRING, 2, text("x") + text("")))]
    fields += [field("i", ARRAY, array(5, 3, struct.pack("<3i", 1, -2, 3))), field("e", ARRAY, array(5, 0))]
    fields += [field("general.alignment", U32, struct.pack("<I", 64))]
    head = header(fields=tuple(fields), tensors=(tensor("a", (2, 32), 0, 8), tensor("b", (3,), 128)))
    data = bytes(range(140))
    path = tmp_path / "x"
    path.write_bytes(head + bytes(-len(head) % 64) + data)
    found = read(path)
    assert {kind: (code, found.metadata[f"n{kind}"]) for kind, (code, _) in numbers.items()} == numbers
    assert [found.metadata[name] for name in "saie"] == ["hé", ["x", ""], [1, -2, 3], []]
    places = {name: (one.dtype, one.shape, one.nbytes) for name, one in found.tensors.items()}
    assert places == {"a": ("Q8_0", (2, 32), 68), "b": ("F32", (3,), 12)}
    assert path.read_bytes()[found.tensors["b"].start :] == data[128:]


MANY = 1 << 60
LIES = {
    "not a GGUF file": (b"GGML", b""),
    "cut off, or not what it says": (b"GGUF\x03", b""),
    "version 1 of the format": (header(version=1), b""),
    "its numbers are big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), b""),
    f"its header announces {MANY:,} parts at byte 8": (header(counts=(MANY, 0)), b""),
    "its header announces 1,000,000 parts at byte 8": (header(counts=(1_000_000, 0)), bytes(99)),
    f"its header announces {MANY:,} parts at byte 16": (header(counts=(0, MANY)), b""),
    "wants 8 bytes more at byte 24, where 0 are left": (header(counts=(0, 9)), b""),
    f"a text of {MANY:,} bytes": (header(fields=(text("k", MANY),)), b""),
    f"wants {MANY >> 40:,} bytes more": (header(fields=(field("k", STRING, text("", MANY >> 40)),)), b""),
    "the text before byte": (header(fields=(field("k", STRING, text(b"\xff\xfe")),)), b""),
    "`k` occurs twice": (header(fields=(field("k", BOOL, b"\1"),) * 2), b""),
    "a value of the kind 13": (header(fields=(field("k", 13, bytes(8)),)), b""),
    "a value of the kind 9": (header(fields=(field("k", ARRAY, array(ARRAY, 1, array(5, 1))),)), bytes(99)),
    f"announces {MANY + 1:,} parts": (header(fields=(field("k", ARRAY, array(STRING, MANY + 1)),)), b""),
    "wants 2,097,152 bytes more": (header(fields=(field("k", ARRAY, array(0, 1 << 21)),)), b""),
    "`general.alignment` is 0": (header(fields=(field("general.alignment", U32, bytes(4)),)), b""),
    "`general.alignment` is 48": (header(fields=(field("general.alignment", U32, b"\x30\0\0\0"),)), b""),
    "`t` has 0 dimensions": (header(tensors=(tensor("t", (), 0),)), b""),
    "`t` has 4294967295 dimensions": (header(tensors=(text("t") + b"\xff" * 4,)), bytes(99)),
    "`t` is of the type F64, which the package": (header(tensors=(tensor("t", (1,), 0, 28),)), bytes(8)),
    "`t` is of the type number 99": (header(tensors=(tensor("t", (1,), 0, 99),)), bytes(8)),
    "`t` of (33,) at 0 does not fit its type Q8_0": (header(tensors=(tensor("t", (33,), 0, 8),)), bytes(99)),
    "`t` of (1,) at 4 does not fit its type F32": (header(tensors=(tensor("t", (1,), 4),)), bytes(99)),
    "cut off: `t` ends at byte 68, the file at 67": (header(tensors=(tensor("t", (1,), 0),)), bytes(3)),
    "cut off: `u` ends at byte": (header(tensors=(tensor("u", (1 << 40, 1 << 40), 0),)), bytes(99)),
    "cut off: `v` ends at byte": (header(tensors=(tensor("v", (1,), 1 << 63),)), bytes(99)),
    "the bytes of `b` overlap others": (header(tensors=(tensor("a", (9,), 0), tensor("b", (1,), 32))), bytes(99)),
    "`a` occurs twice": (header(tensors=(tensor("a", (1,), 0), tensor("a", (1,), 32))), bytes(99)),
}


@pytest.mark.parametrize("message", LIES)
def test_a_header_that_lies_is_refused(message: str, tmp_path: Path) -> None:
    head, data = LIES[message]
    path = tmp_path / "x"
    path.write_bytes(head + bytes(-len(head) % 32 if data else 0) + data)
    assert message in refused(path)


def test_many_small_arrays_are_counted_together(tmp_path: Path) -> None:
    count = (1 << 21) // 3
    fields = tuple(field(f"k{number}", ARRAY, array(0, count, bytes(count))) for number in range(4))
    (tmp_path / "x").write_bytes(header(fields=fields))
    assert "its header announces" in refused(tmp_path / "x")


def test_no_changed_or_missing_byte_has_any_other_end_than_one_line(tmp_path: Path) -> None:
    path = save_gguf(random_model("llama", num_hidden_layers=1), tmp_path / "theirs.gguf", matrices="Q8_0")
    content = path.read_bytes()
    start = min(one.start for one in read(path).tensors.values())
    generator = torch.Generator().manual_seed(0)
    refused_files = 0
    for place in [*range(24), *torch.randint(24, start, (250,), generator=generator).tolist()]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(torch.randint(8, (), generator=generator))
        path.write_bytes(changed)
        refused_files += ends_in_one_line(path)
    for length in [0, 3, 4, 8, 23, *range(24, start, 97), start, len(content) - 1]:
        path.write_bytes(content[:length])
        assert ends_in_one_line(path), length
    assert refused_files > 100
