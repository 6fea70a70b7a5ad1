"""The C functions of the compiled kernels: their signatures and structures, and how they are called."""

import ctypes
from collections.abc import Iterable
from copy import copy
from ctypes import POINTER, Structure, c_float, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Self

import torch

KINDS = {torch.float32: 0, torch.bfloat16: 1}


class Heads(Structure):
    """Of `norm.cpp`."""

    _fields_ = (
        *((name, c_int64) for name in ("batch", "time", "heads", "width", "stride")),
        *((name, c_void_p) for name in ("gain", "cosines", "sines")),
        ("epsilon", c_float),
        ("factor", c_float),
    )


class Attention(Structure):
    """Of `attention.cpp`."""

    _fields_ = tuple((name, c_int64) for name in ("batch", "heads", "kv_heads", "time", "width"))


class Layouts(Structure):
    """Of `packing.h`."""

    _fields_ = tuple(
        (name, c_void_p)
        for name in (
            "left", "left_transposed", "right", "right_transposed",
            "zero_point_correction", "zero_point_correction_transposed",
        )
    )  # fmt: skip


class Scaled(Structure):
    """Of `products.h`."""

    _fields_ = (
        *((name, c_void_p) for name in ("row_scales", "column_scales", "plus")),
        ("factor", c_float),
        ("y", c_void_p),
        ("stride", c_int64),
    )


class Head(Structure):
    """Of `loss.cpp`."""

    _fields_ = tuple(
        (name, c_void_p)
        for name in (
            "by_rows", "by_columns", "correction_by_rows", "correction_by_columns", "row_scales", "column_scales",
        )
    )  # fmt: skip


class Targets(Structure):
    """Of `loss.cpp`."""

    _fields_ = (("ids", c_void_p), ("ignored", c_int64))


_I, _N, _F, _P = c_int, c_int64, c_float, c_void_p
# Argument types, without the number of threads at the end; a first `int` is the kind of the numbers.
SIGNATURES = {
    "causal_softmax": (_I, _P, _N, _N, _N),
    "causal_softmax_gradient": (_I, _P, _P, _N, _N, _N),
    "cross_entropy": (_I, _P, _P, _N, _N, _N, _P),
    "add_norm": (_I, _P, _P, _P, _N, _N, _F, _P, _P),
    "add_norm_gradient": (_I, _P, _P, _P, _P, _N, _N, _F, _P, _P),
    "swiglu": (_I, _P, _N, _N, _P),
    "swiglu_gradient": (_I, _P, _P, _N, _N, _P),
    "accumulate": (_I, _P, _N, _P, _N, _N),
    "drop": (_I, _P, _P, _F, _N, _P),
    "split_heads": (_I, POINTER(Heads), _P, _P),
    "split_heads_gradient": (_I, POINTER(Heads), _P, _P, _P, _P),
    "attention": (POINTER(Attention), _P, _P, _P, _P, _P, _P),
    "attention_gradient": (POINTER(Attention), _P, _P, _P, _P, _P, _P, _P, _P, _P),
    "quantize_rows": (_I, _P, _N, _N, POINTER(Layouts), _P),
    "quantize_columns": (_I, _P, _P, _N, _N, POINTER(Layouts), _P),
    "multiply_integers": (_I, _P, _P, _P, _N, _N, _N, _I, POINTER(Scaled)),
    "swiglu_quantized": (_I, _P, _N, _N, _P, POINTER(Layouts), _P),
    "swiglu_gradient_quantized": (_I, _P, _P, _N, _N, POINTER(Layouts), _P),
    "linear_cross_entropy": (_I, _P, _P, POINTER(Head), POINTER(Targets), _N, _N, _N, _P, _P, _P, _P),
}
# Functions without threads: argument types and result.
_SIZES = {
    "attention_is_fast": ((), c_int),
    "exp_scores_kept": ((_N,), c_int64),
    "inverses_kept": ((_N,), c_int64),
    "packed_size": ((_I, _N, _N), c_int64),
    "correction_size": ((_N,), c_int64),
}


def check_sizes(program: ctypes.CDLL, structures: Iterable[type[Structure]]) -> None:
    """Raise OSError unless the program's structures, as `NIMA_SIZE` exports their sizes, are as long as Python's."""
    for structure in structures:
        name = structure.__name__.removeprefix("_")
        size = getattr(program, f"nima_size_of_{name}")
        size.restype = c_int64
        if size() != ctypes.sizeof(structure):
            raise OSError(f"`{name}` has {size()} bytes in C++ and {ctypes.sizeof(structure)} in Python")


class NativeLibrary:
    """The loaded program."""

    def __init__(self, path: Path) -> None:
        self._threads = 0
        self._program = ctypes.CDLL(str(path))
        for name, types in SIGNATURES.items():
            function = getattr(self._program, f"nima_{name}")
            function.argtypes, function.restype = (*types, c_int), None
        for name, (types, result) in _SIZES.items():
            function = getattr(self._program, f"nima_{name}")
            function.argtypes, function.restype = types, result
        check_sizes(self._program, (Heads, Attention, Layouts, Scaled, Head, Targets))

    def call(self, name: str, *arguments: "torch.Tensor | Structure | float | None") -> None:
        """Run a kernel; a contiguous CPU tensor is passed as its address."""
        told = (address(each) if isinstance(each, torch.Tensor) else each for each in arguments)
        getattr(self._program, f"nima_{name}")(*told, self.threads)

    def ask(self, name: str, *arguments: int) -> int:
        """Ask the program for a size or a fact."""
        return int(getattr(self._program, f"nima_{name}")(*arguments))

    @property
    def threads(self) -> int:
        """How many threads a call uses."""
        return self._threads or torch.get_num_threads()

    def alone(self) -> Self:
        """The same, but each call uses one thread."""
        single = copy(self)
        single._threads = 1
        return single

    @staticmethod
    def supports(device: torch.device, dtype: torch.dtype) -> bool:
        """Whether the kernels compute on this device and in this type."""
        return device.type == "cpu" and dtype in KINDS


def kind(*tensors: torch.Tensor | None) -> int:
    """The C++ number of the tensors' common type."""
    (dtype,) = {tensor.dtype for tensor in tensors if tensor is not None}
    return KINDS[dtype]


def address(tensor: torch.Tensor | None) -> int | None:
    """The address of a contiguous CPU tensor."""
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    assert tensor.device.type == "cpu"
    return tensor.data_ptr()


def row_stride(x_NC: torch.Tensor) -> int:
    """Row stride of a matrix whose rows are contiguous."""
    assert x_NC.stride(1) == 1
    assert x_NC.device.type == "cpu"
    return x_NC.stride(0)


def position_stride(x_BTC: torch.Tensor) -> int:
    """Stride from one position to the next, over the sequences, where each position is contiguous."""
    assert x_BTC.stride(0) == x_BTC.shape[1] * x_BTC.stride(1)
    return row_stride(x_BTC[0])


def rows_of(tensor: torch.Tensor) -> tuple[int, int]:
    """Number of rows over all axes but the last, and their width."""
    return tensor.numel() // tensor.shape[-1], tensor.shape[-1]
