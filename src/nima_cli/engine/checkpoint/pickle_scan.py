"""Walks the opcodes of an untrusted pickle without executing any; knows no archive, no file and no torch.

It follows the pickle machine with the kinds of values instead of the values, and lets through nothing but what nested
dicts and lists of text, numbers and dense tensors need. So every call is one of two with arguments of the right kinds,
every key of a dict is text or a number (hashing a nested tuple can take for ever, or end the process), and only dicts
take items (an item set in a giant view would fill it).
"""

import pickletools
from dataclasses import dataclass, field
from typing import Any

_STORAGES = (
    "FloatStorage",
    "BFloat16Storage",
    "HalfStorage",
    "LongStorage",
    "IntStorage",
    "ByteStorage",
    "BoolStorage",
)
_ORDERED_DICT, _REBUILD = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_STORAGE_TYPES = {f"torch {storage}" for storage in _STORAGES}
_PUSHED = {
    "NONE": "plain", "NEWTRUE": "plain", "NEWFALSE": "plain", "BININT": "plain", "BININT1": "plain",
    "BININT2": "plain", "LONG1": "plain", "BINFLOAT": "plain", "BINUNICODE": "text", "SHORT_BINUNICODE": "text",
    "BINUNICODE8": "text", "EMPTY_DICT": "dict", "EMPTY_LIST": "list", "MARK": "mark",
}  # fmt: skip
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# size, stride and so on; the metadata at the end is there for negated and conjugated views only.
_TENSOR = ("storage", "plain", "tuple", "tuple", "plain", "dict")
_KEYS = {"plain", "text"}

Kind = str | tuple[str, ...]  # of a tuple: the kinds of its items


class ForbiddenPickleError(Exception):
    """The pickle wants more than plain values and dense tensors; `call` is the function that it names, if any."""

    def __init__(self, what: str, *, call: str | None = None) -> None:
        super().__init__(what)
        self.call = call


def check_pickle(data: bytes) -> None:
    """Walk the whole pickle.

    Raises:
        ForbiddenPickleError: it holds something that no checkpoint of ours does.
        ValueError, IndexError, UnicodeDecodeError: it is no pickle.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(data):
        machine.take(opcode.name, argument)


@dataclass(slots=True)
class _Machine:
    """The stack and the memo of the pickle machine, of kinds."""

    stack: list[Kind] = field(default_factory=list)
    memo: dict[Any, Kind] = field(default_factory=dict)

    def take(self, name: str, argument: Any) -> None:
        if name in _PUSHED:
            self.stack.append(_PUSHED[name])
        elif name in _TUPLES or name == "TUPLE":
            items = self._pop(_TUPLES[name]) if name in _TUPLES else self._pop_to_mark()
            self.stack.append(tuple(_name(item) for item in items))
        elif name == "GLOBAL":
            self.stack.append(_allowed(argument))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            if argument not in self.memo:
                raise ValueError(f"memo {argument} is empty")
            self.stack.append(self.memo[argument])
        elif name in ("SETITEM", "SETITEMS"):
            self._set_items(self._pop(2) if name == "SETITEM" else self._pop_to_mark())
        elif name in ("APPEND", "APPENDS"):
            self._append(self._pop(1) if name == "APPEND" else self._pop_to_mark())
        elif name in ("BINPERSID", "REDUCE"):
            self._call(name)
        elif name not in ("PROTO", "STOP"):
            raise ForbiddenPickleError(f"its pickle uses `{name}`")

    def _pop(self, count: int) -> list[Kind]:
        if count > len(self.stack):
            raise IndexError("its pickle takes more than there is")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def _pop_to_mark(self) -> list[Kind]:
        items: list[Kind] = []
        while (item := self.stack.pop()) != "mark":
            items.append(item)
        return items[::-1]

    def _set_items(self, items: list[Kind]) -> None:
        if self.stack[-1] != "dict" or len(items) % 2 or any(key not in _KEYS for key in items[::2]):
            raise ForbiddenPickleError("its pickle has keys of another kind than text and numbers")

    def _append(self, items: list[Kind]) -> None:
        if self.stack[-1] != "list":
            raise ForbiddenPickleError("its pickle appends to what is no list")

    def _call(self, name: str) -> None:
        arguments = self.stack.pop()
        called = self.stack.pop() if name == "REDUCE" else "storage"
        if called == _ORDERED_DICT and arguments == ():
            self.stack.append("dict")
        elif called == _REBUILD and isinstance(arguments, tuple) and arguments in (_TENSOR, (*_TENSOR, "dict")):
            self.stack.append("tensor")
        elif called == "storage" and _is_storage(arguments):
            self.stack.append("storage")
        else:
            raise ForbiddenPickleError(f"its pickle calls `{_name(called)}` in a way of its own")


def _is_storage(arguments: Kind) -> bool:
    """('storage', type, name of the archive's entry, device, number of elements)."""
    if not isinstance(arguments, tuple) or len(arguments) != 5:
        return False
    return arguments[1] in _STORAGE_TYPES and (arguments[0], *arguments[2:]) == ("text", "text", "text", "plain")


def _allowed(function: str) -> str:
    if function not in _STORAGE_TYPES | {_ORDERED_DICT, _REBUILD}:
        raise ForbiddenPickleError("", call=function)
    return function


def _name(kind: Kind) -> str:
    return kind if isinstance(kind, str) else "tuple"
