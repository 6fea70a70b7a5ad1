"""Reads the file in which the client of Weights & Biases keeps an offline run, without the client's server side.

The file is a log in LevelDB's format: a header of 7 bytes, then blocks of 32 KiB of records, each of which may be cut
into a first, middle and last part; a record is one protocol-buffers message.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32 * 1024
_HEADER = struct.Struct("<IHB")
_WHOLE, _LAST = 1, 4


def history(path: Path) -> list[dict[str, Any]]:
    """The rows that were logged, in order; `_step` is theirs."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows = []
    for message in _messages(path.read_bytes()):
        record = Record()
        record.ParseFromString(message)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


def _messages(data: bytes) -> Iterator[bytes]:
    assert data.startswith(b":W&B")
    at, message = 7, b""
    while at + _HEADER.size <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER.size:
            at += left
            continue
        _, length, kind = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        message += data[at : at + length]
        at += length
        if kind in (_WHOLE, _LAST):
            yield message
            message = b""
