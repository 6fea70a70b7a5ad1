"""A compiled program with Python around it: loads it and says how many threads a call of it takes."""

import ctypes
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from nima_cli.engine.kernels.tensors import KINDS

Signatures = dict[str, tuple[Any, ...]]
Structures = dict[str, type[ctypes.Structure]]


def check_sizes(program: ctypes.CDLL, structures: Mapping[str, type[ctypes.Structure]]) -> None:
    """See that the structures of a program are as long as what Python hands to it.

    Args:
        structures: by the name that each has in C++, where `NIMA_SIZE` exports its length.

    Raises:
        OSError: one is not.
    """
    for name, structure in structures.items():
        size = getattr(program, f"nima_size_of_{name}")
        size.restype = ctypes.c_int64
        if size() != ctypes.sizeof(structure):
            raise OSError(f"`{name}` has {size()} bytes in C++ and {ctypes.sizeof(structure)} in Python")


class Loaded:
    """The program that each group of kernels is a part of.

    Attributes:
        SIGNATURES: the types of what each function is given, of those that a class calls.
        STRUCTURES: what these types are made of, by the names of the program.

    Raises:
        OSError: it cannot be loaded here.
    """

    SIGNATURES: ClassVar[Signatures] = {}
    STRUCTURES: ClassVar[Structures] = {}

    def __init__(self, path: Path) -> None:
        self._threads = 0
        self._program = ctypes.CDLL(str(path))
        for group in type(self).__mro__:
            for name, types in vars(group).get("SIGNATURES", {}).items():
                function = getattr(self._program, name)
                function.argtypes, function.restype = types, None
            check_sizes(self._program, vars(group).get("STRUCTURES", {}))

    @property
    def threads(self) -> int:
        """How many threads share the work of a call."""
        return self._threads or torch.get_num_threads()

    def alone(self) -> Self:
        """The same, working in the thread that calls, beside which others may work."""
        single = copy(self)
        single._threads = 1
        return single

    @staticmethod
    def supports(device: torch.device, dtype: torch.dtype) -> bool:
        """Whether they compute with tensors of this type there."""
        return device.type == "cpu" and dtype in KINDS
