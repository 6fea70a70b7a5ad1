"""A compiled program with Python around it: loads it and says how many threads a call of it takes."""

import ctypes
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from nima_cli.engine.native.tensors import KINDS

Signatures = dict[str, tuple[Any, ...]]


class Loaded:
    """The program that each group of kernels is a part of.

    Attributes:
        SIGNATURES: the types of what each function is given, of those that a class calls.

    Raises:
        OSError: it cannot be loaded here.
    """

    SIGNATURES: ClassVar[Signatures] = {}

    def __init__(self, path: Path) -> None:
        self._threads = 0
        self._program = ctypes.CDLL(str(path))
        for group in type(self).__mro__:
            for name, types in vars(group).get("SIGNATURES", {}).items():
                function = getattr(self._program, name)
                function.argtypes, function.restype = types, None

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
    def fit(tensor: torch.Tensor) -> bool:
        """Whether this is a tensor that they compute with."""
        return tensor.device.type == "cpu" and tensor.dtype in KINDS
