"""The structures of `decode.cpp` as ctypes sees them, filled from a model and its cache.

The numbers themselves stay where they are: what is filled in are addresses, so whoever fills in a structure keeps the
tensors alive.
"""

import ctypes
from ctypes import POINTER, Structure, c_double, c_float, c_int, c_int64, c_void_p
from pathlib import Path

from nima_cli.engine.kernels.loaded import check_sizes


class Matrix(Structure):
    """Weights row by row, and a factor for each row or none."""

    _fields_ = (("weights", c_void_p), ("scales", c_void_p), ("rows", c_int64), ("columns", c_int64))


class Layer(Structure):
    """One layer's weights, gains, keys and values."""

    _fields_ = (
        *((name, Matrix) for name in ("query", "key", "value", "output", "gate", "up", "down")),
        *((name, c_void_p) for name in ("input_gain", "query_gain", "key_gain", "mlp_gain", "keys", "values")),
    )


class Decoder(Structure):
    """The whole model."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in (
                "layers", "width", "heads", "kv_heads", "head_width", "hidden", "vocabulary", "capacity", "kind",
            )
        ),
        ("epsilon", c_float),
        ("layer", POINTER(Layer)),
        ("head", Matrix),
        ("embedding", POINTER(Matrix)),
        *((name, c_void_p) for name in ("gain", "cosines", "sines")),
    )  # fmt: skip


class Choice(Structure):
    """How the next token is chosen."""

    _fields_ = (
        ("temperature", c_double),
        ("top_k", c_int64),
        ("top_p", c_double),
        ("min_p", c_double),
        ("repetition_penalty", c_double),
    )


def load(path: Path) -> ctypes.CDLL:
    """The compiled program with the types of its functions.

    Raises:
        OSError: it cannot be loaded here.
    """
    found = ctypes.CDLL(str(path))
    check_sizes(found, {"Matrix": Matrix, "Layer": Layer, "Decoder": Decoder, "Choice": Choice})
    found.nima_step.argtypes = (POINTER(Decoder), c_int64, c_int64, c_void_p, c_int)
    found.nima_step.restype = None
    found.nima_pick.argtypes = (c_void_p, c_void_p, c_int64, POINTER(Choice), c_double)
    found.nima_pick.restype = c_int64
    return found
