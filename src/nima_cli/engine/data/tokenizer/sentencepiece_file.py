"""Reads SentencePiece files of the kind that nima trains; crafted ones crash the native loader, so these are refused.

The module of the sentencepiece package that reads them needs one exact version of the protobuf runtime, so this is a
reader of our own. Field numbers: sentencepiece_model.proto of sentencepiece 0.2.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from nima_cli.engine.data.document import Role
from nima_cli.errors import CheckpointError

UNKNOWN = "<unk>"
BOS, EOS, PAD, END = "<|bos|>", "<|eos|>", "<|pad|>", "<|end|>"
ROLE_SYMBOLS: dict[Role, str] = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
CONTROL_SYMBOLS = (BOS, EOS, PAD, END, *ROLE_SYMBOLS.values())
USER_SYMBOLS = ("\n", "\t")
SPACE_MARK = "\u2581"

# The front of every vocabulary: <unk>, the control symbols, newline and tab, the 256 bytes.
FIRST_BYTE_ID = 1 + len(CONTROL_SYMBOLS) + len(USER_SYMBOLS)
FIRST_NORMAL_ID = FIRST_BYTE_ID + 256

MODEL_TYPES = {1: "unigram", 2: "bpe", 4: "char"}
# So a text of n characters has at least n / 16 tokens, and no crafted piece makes encoding slow.
MAX_PIECE_CHARACTERS = 16
MAX_PROTO_BYTES = 16 * 2**20

# The most fields of the file, of a section of settings, and of a piece.
_MAX_PARTS, _MAX_SETTINGS, _MAX_PIECE_FIELDS = 2**17, 64, 3
# The score of a bpe piece is its negative rank; those of the other kinds are logarithms of probabilities.
_MAX_SCORE = float(_MAX_PARTS)
_NORMAL_TYPE, _UNKNOWN_TYPE, _CONTROL_TYPE, _USER_TYPE, _BYTE_TYPE = 1, 2, 3, 4, 6
_Fields = dict[int, list[int | float | bytes]]


def read_vocabulary(proto: bytes, where: str) -> tuple[str, tuple[str, ...]]:
    """The kind (bpe, unigram or char) and the pieces of a SentencePiece file, in id order, with real spaces.

    Raises `CheckpointError` if the file is damaged or not of the kind that nima trains.
    """
    try:
        return _read_checked(proto)
    except _RefusedError as reason:
        raise CheckpointError(
            f"{where}: this is not a tokenizer that nima can use: {reason}",
            hint="use a `.model` file, dataset or checkpoint that nima made",
        ) from None


class _RefusedError(Exception):
    """Why a file is refused."""


def _read_checked(proto: bytes) -> tuple[str, tuple[str, ...]]:
    if not proto or len(proto) > MAX_PROTO_BYTES:
        raise _RefusedError(f"it has {len(proto)} bytes")
    model = _fields(proto, _MAX_PARTS)
    if set(model) - {1, 2, 3, 5} or not {1, 2, 3} <= set(model):
        raise _RefusedError("it is not a SentencePiece model, or holds sections that nima never writes")
    _check_normalizer(_fields(_only(model, 3), _MAX_SETTINGS))
    if 5 in model and any(_fields(_only(model, 5), _MAX_SETTINGS).get(2, [b""])):
        raise _RefusedError("it changes the text when decoding")
    trainer = _fields(_only(model, 2), _MAX_SETTINGS)
    kind = MODEL_TYPES.get(_integer(trainer, 3, default=1))
    if kind is None:
        raise _RefusedError("it is neither bpe, unigram nor char")
    if not _integer(trainer, 35, default=0) or _integer(trainer, 24, default=0):
        raise _RefusedError("it has no byte fallback, or treats white space as a suffix")
    return kind, _checked_pieces(kind, [_piece(raw) for raw in model[1]])


def _check_normalizer(normalizer: _Fields) -> None:
    """Refuse all but the identity: no rules, no dummy prefix, no white space removed, spaces marked."""
    if any(len(values) > 1 for values in normalizer.values()):
        raise _RefusedError("a normaliser setting is given twice")
    unchanged = (
        normalizer.get(1) == [b"identity"]
        and normalizer.get(2, [b""]) == normalizer.get(6, [b""]) == [b""]
        and not _integer(normalizer, 3, default=1)
        and not _integer(normalizer, 4, default=1)
        and _integer(normalizer, 5, default=1)
    )
    if not unchanged:
        raise _RefusedError("it normalises text, so it would not be lossless")


def _checked_pieces(kind: str, found: Sequence["_StoredPiece"]) -> tuple[str, ...]:
    front = [
        (UNKNOWN, _UNKNOWN_TYPE),
        *((symbol, _CONTROL_TYPE) for symbol in CONTROL_SYMBOLS),
        *((symbol, _USER_TYPE) for symbol in USER_SYMBOLS),
        *((f"<0x{value:02X}>", _BYTE_TYPE) for value in range(256)),
    ]
    if [(piece.text, piece.type) for piece in found[: len(front)]] != front:
        raise _RefusedError("its special symbols or byte pieces are not those of nima")
    normal = found[len(front) :]
    longest = 1 if kind == "char" else MAX_PIECE_CHARACTERS
    if any(piece.type != _NORMAL_TYPE or not 0 < len(piece.text) <= longest or "\0" in piece.text for piece in normal):
        raise _RefusedError("a piece is empty, too long, holds a NUL or is of an unexpected type")
    if kind == "bpe" and any(piece.score <= after.score for piece, after in pairwise(normal)):
        raise _RefusedError("its pieces are not in the order of their scores")
    pieces = tuple(piece.text.replace(SPACE_MARK, " ") for piece in found)
    if len(set(pieces)) != len(pieces) or " " not in pieces:
        raise _RefusedError("a piece occurs twice, or there is none for a space")
    return pieces


class _StoredPiece(NamedTuple):
    text: str
    type: int
    score: float


def _piece(raw: int | float | bytes) -> _StoredPiece:
    fields = _fields(raw, _MAX_PIECE_FIELDS)
    score = fields.get(2, [0.0])[-1]
    if not isinstance(score, float) or not abs(score) <= _MAX_SCORE:  # true for NaN
        raise _RefusedError("a score is not a number, or too large")
    try:
        return _StoredPiece(_only(fields, 1).decode("utf-8"), _integer(fields, 3, default=_NORMAL_TYPE), score)
    except UnicodeDecodeError:
        raise _RefusedError("a piece is not UTF-8") from None


def _only(fields: _Fields, number: int) -> bytes:
    values = fields.get(number, [])
    if len(values) != 1 or not isinstance(values[0], bytes):
        raise _RefusedError(f"section {number} is missing or occurs {len(values)} times")
    return values[0]


def _integer(fields: _Fields, number: int, *, default: int) -> int:
    value = fields.get(number, [default])[-1]
    if not isinstance(value, int):
        raise _RefusedError(f"setting {number} is not an integer")
    return value


def _fields(message: int | float | bytes, at_most: int) -> _Fields:
    """The fields of one protocol buffer message by number, in their order."""
    if not isinstance(message, bytes):
        raise _RefusedError("a section is not a message")
    fields: _Fields = {}
    for count, (number, value) in enumerate(_walk(message)):
        if count == at_most:
            raise _RefusedError(f"a section has more than {at_most} parts")
        fields.setdefault(number, []).append(value)
    return fields


def _walk(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """(field number, value) of integers, 32-bit floats and bytes, the types in files of nima."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire = key & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if wire == 2:
            size, position = _varint(data, position)
        elif wire == 5:
            size = 4
        else:
            raise _RefusedError(f"unreadable at byte {position}")
        if size > len(data) - position:
            raise _RefusedError(f"cut short at byte {position}")
        content = data[position : position + size]
        yield key >> 3, struct.unpack("<f", content)[0] if wire == 5 else content
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[position : position + 10]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            if value >= 2**64:  # other readers drop the upper bits and see another number
                break
            return value, position + index + 1
    raise _RefusedError(f"unreadable at byte {position}")
