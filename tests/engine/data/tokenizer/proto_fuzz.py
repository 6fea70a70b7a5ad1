"""Hands crafted and mutated tokenizer files to nima in this process, which may die of it; a test runs it as a module.

Prints one JSON object: the outcome of each crafted file, how many mutated files of each kind were refused, and the
memory that refusing took at most.
"""

import json
import random
import struct
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

from nima_cli.engine.data.tokenizer.sentencepiece_file import FIRST_NORMAL_ID, MAX_PROTO_BYTES
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.errors import CheckpointError

TEXT = "a é\u2581\n\t  kubectl 12 \0 <|eos|> <0x41> 😀" + "a" * 3000

Part = tuple[int, int, bytes]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def part(number: int, value: int | float | bytes) -> Part:
    """A field: its number, its wire type, and its bytes after the key."""
    if isinstance(value, bytes):
        return number, 2, varint(len(value)) + value
    return (number, 5, struct.pack("<f", value)) if isinstance(value, float) else (number, 0, varint(value))


def message(parts: Sequence[Part]) -> bytes:
    return b"".join(varint(number << 3 | wire) + content for number, wire, content in parts)


def parts_of(data: bytes) -> list[Part]:
    """The fields of a good file, which holds integers, floats and bytes only."""
    found, position = list[Part](), 0
    while position < len(data):
        key, position = read_varint(data, position)
        begin = position
        if key & 7 == 5:
            position += 4
        else:
            size, position = read_varint(data, position)
            position += size if key & 7 == 2 else 0
        found.append((key >> 3, key & 7, data[begin:position]))
    return found


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position


def body(field: Part) -> bytes:
    """What a field of bytes holds."""
    return field[2][read_varint(field[2], 0)[1] :]


def nested(depth: int) -> bytes:
    """A message in a message, and so on."""
    sizes, size = [b""], 0
    for _ in range(depth):
        sizes.append(b"\x0a" + varint(size))
        size += len(sizes[-1])
    return b"".join(reversed(sizes))


def crafted(proto: bytes) -> Iterator[tuple[str, bytes]]:
    """Files that must be refused, with what is wrong about them; none is one that nima would write."""
    parts = parts_of(proto)
    pieces = [one for one in parts if one[0] == 1]
    trainer, normalizer = (next(one for one in parts if one[0] == number) for number in (2, 3))
    settings = [trainer, normalizer]

    def with_piece(*fields: Part) -> bytes:
        return message([*pieces, part(1, message(fields)), *settings])

    def with_trainer(*fields: Part) -> bytes:
        return message([*pieces, part(2, body(trainer) + message(fields)), normalizer])

    def with_normalizer(*fields: Part) -> bytes:
        return message([*pieces, trainer, part(3, message(fields))])

    text, low = part(1, b"zqzq"), part(2, -1e5)
    yield "too large", proto + message([part(1, b"x" * MAX_PROTO_BYTES)])
    yield "a million empty pieces", proto + b"\x0a\x00" * 2**20
    yield "millions of short pieces", proto + b"\x0a\x02xy" * (MAX_PROTO_BYTES // 4 - len(proto))
    yield "a million fields in a piece", with_piece(text, low, (3, 0, b"\x01" + b"\x18\x01" * 2**20))
    yield "a million settings", with_trainer(*[part(4, 1)] * 2**20)
    yield "a length beyond the end", proto + b"\x0a" + varint(2**63)
    yield "a number of eleven bytes", proto + b"\xff" * 11
    yield "a number of seventy bits", with_trainer((35, 0, b"\xff" * 9 + b"\x7f"))
    yield "nested messages", with_piece(part(1, nested(50_000)))
    yield "nested messages at the top", proto + nested(50_000)
    yield "groups", proto + b"\x0b" * 100_000
    yield "a 64-bit field", proto + message([(9, 1, b"\0" * 8)])
    yield "field number 0", proto + message([(0, 0, b"\x01")])
    for number, name in ((1, "pieces"), (2, "trainer"), (3, "normaliser")):
        for value in (7, 7.0):
            others = [one for one in parts if one[0] != number]
            yield f"{name} as {type(value).__name__}", message([*others, part(number, value)])
        yield f"no {name}", message([one for one in parts if one[0] != number])
    yield "trainer twice", message([*parts, trainer])
    yield "self test", proto + message([part(4, message([part(1, b"x")]))])
    yield "precompiled map", with_normalizer(part(1, b"identity"), part(2, b"\xff" * 999), part(3, 0), part(4, 0))
    yield "precompiled map of integers", with_normalizer(part(1, b"identity"), part(2, 5), part(3, 0), part(4, 0))
    yield "other rules", with_normalizer(part(1, b"nfkc"), part(2, b""), part(3, 0), part(4, 0))
    yield "rules as text", with_normalizer(part(1, b"identity"), part(6, b"a\tb"), part(3, 0), part(4, 0))
    yield "dummy prefix", with_normalizer(part(1, b"identity"), part(2, b""), part(3, 1), part(4, 0))
    yield "map for decoding", proto + message([part(5, message([part(2, b"\xff" * 99)]))])
    yield "words", with_trainer(part(3, 3))
    yield "unknown kind", with_trainer(part(3, 99))
    yield "kind as text", with_trainer(part(3, b"bpe"))
    yield "no byte fallback", with_trainer(part(35, 0))
    yield "white space as suffix", with_trainer(part(24, 1))
    yield "the same piece twice", with_piece(part(1, body(parts_of(body(pieces[-1]))[0])), low)
    yield "a piece that is one but for the mark", with_piece(part(1, b" "), low)
    yield "the end symbol as a piece", with_piece(part(1, b"<|end|>"), low)
    yield "a byte piece missing", message([*pieces[:20], *pieces[21:], *settings])
    yield "symbols in another order", message([pieces[0], pieces[2], pieces[1], *pieces[3:], *settings])
    yield "no text", with_piece(part(1, b""), low)
    yield "text twice", with_piece(text, text, low)
    yield "text as a number", with_piece(part(1, 7), low)
    yield "text that is no UTF-8", with_piece(part(1, b"\xff\xfe"), low)
    yield "a NUL in a piece", with_piece(part(1, b"a\0b"), low)
    without_space = [one for one in pieces if "\u2581".encode() != body(parts_of(body(one))[0])]
    yield "no piece for a space", message([*without_space, *settings])
    yield "a surrogate", with_piece(part(1, b"\xed\xa0\x80"), low)
    yield "a very long piece", with_piece(part(1, b"a" * 100_000), low)
    yield "a piece as message", message([*pieces, part(1, 7), *settings])
    for kind in (0, 2, 3, 4, 5, 6, 7, 2**31, 2**32 + 1, 2**63):
        yield f"a piece of type {kind}", with_piece(text, low, part(3, kind))
    for score in (float("nan"), float("inf"), float("-inf"), 1e30, -1e30):
        yield f"a score of {score}", with_piece(text, part(2, score))
    yield "a score as bytes", with_piece(text, part(2, b"\0\0\0\0"))
    yield "a score as an integer", with_piece(text, part(2, 1))
    yield "a better score at the end", with_piece(text, part(2, 1.0))


def mutated(proto: bytes, generator: random.Random) -> bytes:
    """The file with some bytes, fields, or fields inside a field changed."""
    if generator.random() < 0.5:
        return _with_other_bytes(proto, generator)
    parts = parts_of(proto)
    if generator.random() < 0.3:
        return message(_with_other_parts(parts, generator))
    sections = [number for number, one in enumerate(parts) if one[0] != 1 or number >= FIRST_NORMAL_ID]
    where = generator.choice(sections)
    inner = _with_other_parts(parts_of(body(parts[where])), generator)
    parts[where] = part(parts[where][0], message(inner))
    return message(parts)


def _with_other_bytes(proto: bytes, generator: random.Random) -> bytes:
    data = bytearray(proto)
    for _ in range(generator.choice((1, 1, 2, 8))):
        where = generator.randrange(len(data)) if generator.random() < 0.5 else generator.randrange(-600, 0)
        action = generator.random()
        if action < 0.6:
            data[where] = generator.randrange(256)
        elif action < 0.8:
            del data[where : where + generator.randrange(1, 50)]
        else:
            data[where:where] = generator.randbytes(generator.randrange(1, 50))
    return bytes(data)


def _with_other_parts(parts: list[Part], generator: random.Random) -> list[Part]:
    where = generator.randrange(len(parts))
    number, wire, content = parts[where]
    other = generator.randrange(len(parts))
    values = (0, 1, 2**31, 2**63, 0.0, -1.0, float("nan"), b"", b"\0", b"\xff", "\u2581a".encode(), b"x" * 400)
    match generator.randrange(6):
        case 0:
            del parts[where]
        case 1:
            parts.insert(other, parts[where])
        case 2:
            parts[where], parts[other] = parts[other], parts[where]
        case 3:
            parts[where] = number, generator.randrange(6), content
        case 4:
            parts[where] = generator.choice((number, generator.randrange(1, 60))), wire, content
        case _:
            parts[where] = part(number, generator.choice(values))
    return parts


def refused(data: bytes) -> bool:
    """Whether nima refuses the file; if it does not, the tokenizer must be lossless and its JSON must be made."""
    try:
        tokenizer = SentencePieceTokenizer.from_bytes(data, where="fuzzed")
    except CheckpointError:
        return True
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    tokenizer.hf_json()
    return False


def main(files: Sequence[Path], count: int, seed: int) -> None:
    """Report on crafted files made of the first file, and on `count` mutated ones, shared evenly."""
    generator = random.Random(seed)
    protos = [file.read_bytes() for file in files]
    assert not any(map(refused, protos))
    tracemalloc.start()
    outcomes, most = dict[str, bool](), 0
    for name, data in crafted(protos[0]):
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        outcomes[name] = refused(data)
        most = max(most, tracemalloc.get_traced_memory()[1] - held - 2 * len(data))
    tracemalloc.stop()
    rejected = [sum(refused(mutated(proto, generator)) for _ in range(count // len(protos))) for proto in protos]
    print(json.dumps({"crafted": outcomes, "mutated": rejected, "bytes_over_twice_the_file": most}))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[3:]], int(sys.argv[1]), int(sys.argv[2]))
