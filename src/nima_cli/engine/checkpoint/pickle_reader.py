"""Reads the pickle of an untrusted torch file without calling a function.

It knows only the opcodes that nested dicts and lists of text, numbers and dense tensors need. Keys are text or numbers,
because hashing a nested tuple can take for ever or crash. A tensor is returned as the place of its bytes.
"""

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Type and bytes of one element of each kind of storage.
_STORAGES = {
    "torch FloatStorage": ("float32", 4),
    "torch BFloat16Storage": ("bfloat16", 2),
    "torch HalfStorage": ("float16", 2),
    "torch LongStorage": ("int64", 8),
    "torch IntStorage": ("int32", 4),
    "torch ByteStorage": ("uint8", 1),
    "torch BoolStorage": ("bool", 1),
}
_MARK = object()
_ORDERED_DICT, _REBUILD = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "MARK": lambda: _MARK,
}
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_KEYS = (str, int, float, type(None))


class NotOursError(Exception):
    """The file holds something that a checkpoint of nima never does."""

    def __init__(self, what: str, *, hint: str | None = None) -> None:
        super().__init__(what)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Storage:
    """Where in the archive the elements of one or more tensors are."""

    dtype: str
    entry: str
    elements: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A dense tensor that has not been read; it begins at the element `offset` of its storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Function:
    name: str


def read_pickle(data: bytes, sizes: Mapping[str, int]) -> Any:
    """The value of a pickle, with a `StoredTensor` for each tensor; `sizes` has the bytes of each storage.

    Raises `NotOursError`, or any other exception if the pickle is damaged.
    """
    machine = _Machine(sizes)
    for opcode, argument, _ in pickletools.genops(data):
        machine.execute(opcode.name, argument)
    return machine.stack.pop()


class _Machine:
    """The pickle machine: a stack and a memo."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def execute(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _TUPLES:
            self.stack.append(tuple(self._pop(_TUPLES[opcode])))
        elif opcode == "TUPLE":
            self.stack.append(tuple(self._pop_to_mark()))
        elif opcode == "GLOBAL":
            self.stack.append(_function(argument))
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self.stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            self.stack.append(self._memo[argument])
        elif opcode in ("SETITEM", "SETITEMS"):
            self._set_items(self._pop(2) if opcode == "SETITEM" else self._pop_to_mark())
        elif opcode in ("APPEND", "APPENDS"):
            items = self._pop(1) if opcode == "APPEND" else self._pop_to_mark()
            if not isinstance(self.stack[-1], list):
                raise _other_program("its pickle appends to something else than a list")
            self.stack[-1].extend(items)
        elif opcode == "BINPERSID":
            self.stack.append(_storage(self.stack.pop(), self._sizes))
        elif opcode == "REDUCE":
            self.stack.append(_call(*self._pop(2)))
        elif opcode not in ("PROTO", "STOP"):
            raise _other_program(f"its pickle uses `{opcode}`")

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise IndexError("its pickle takes more than there is")
        start = len(self.stack) - count
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _set_items(self, items: list[Any]) -> None:
        target, keys = self.stack[-1], items[::2]
        if not isinstance(target, dict) or len(items) % 2 or not all(isinstance(key, _KEYS) for key in keys):
            raise _other_program("its pickle has keys of another kind than text and numbers")
        target.update(zip(keys, items[1::2], strict=True))


def _function(name: str) -> _Function:
    if name not in (*_STORAGES, _ORDERED_DICT, _REBUILD):
        raise NotOursError(
            f"wants to call `{name.replace(' ', '.')}`",
            hint="nothing was executed; do not open this file with other tools unless you trust its author",
        )
    return _Function(name)


def _call(function: Any, arguments: Any) -> Any:
    """The result of one of the two calls that torch writes."""
    match function, arguments:
        case _Function(name), () if name == _ORDERED_DICT:
            return {}
        case _Function(name), (Storage() as storage, int(offset), tuple(size), tuple(stride), bool(), {}, *extra) if (
            name == _REBUILD and extra in ([], [{}])  # not empty for a negated or conjugated view
        ):
            return _tensor(storage, offset, size, stride)
    raise _other_program("its pickle calls a function in a way of its own")


def _storage(reference: Any, sizes: Mapping[str, int]) -> Storage:
    match reference:
        case ("storage", _Function(name), str(entry), str(), int(elements)) if name in _STORAGES:
            dtype, itemsize = _STORAGES[name]
            if sizes.get(entry, 0) != elements * itemsize:
                raise ValueError(f"`{entry}` has {sizes.get(entry, 0)} bytes, its pickle says {elements * itemsize}")
            return Storage(dtype, entry, elements, elements * itemsize)
    raise _other_program("its pickle names a storage in a way of its own")


def _tensor(storage: Storage, offset: int, size: tuple[Any, ...], stride: tuple[Any, ...]) -> StoredTensor:
    """A tensor whose elements are all in the storage: a view of a few bytes could claim any size."""
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)) or not len(size) == len(stride) <= 8:
        raise ValueError("a tensor has impossible sizes")
    elements = math.prod(size)
    in_order = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
    if elements and any(n > 1 and given != due for n, given, due in zip(size, stride, in_order, strict=True)):
        raise _other_program("it holds a view whose elements are not in order")
    if offset + elements > storage.elements:
        raise ValueError("a tensor lies beyond its bytes")
    return StoredTensor(storage, offset, size, in_order)


def _other_program(why: str) -> NotOursError:
    return NotOursError(f"another program's torch file ({why})")
