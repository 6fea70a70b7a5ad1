"""What training on a CPU computes beside matrix products, by a compiled program; knows no model and no loss.

Each method is one pass over memory in torch's own threads. A number comes out the same whatever the number of threads.
Tensors must be contiguous, on the CPU, and in float32 or bfloat16; in between everything is float32.

Axis letters: N matrices or positions · S rows of a block · E columns of a block · V vocabulary
"""

import ctypes
from ctypes import c_int, c_int64, c_void_p
from pathlib import Path

import torch

from nima_cli.engine.native.build import library
from nima_cli.engine.native.program import KERNELS

_KINDS = {torch.float32: 0, torch.bfloat16: 1}
_SIGNATURES = {
    "nima_causal_softmax": (c_int, c_void_p, c_int64, c_int64, c_int64, c_int),
    "nima_causal_softmax_gradient": (c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int),
    "nima_cross_entropy": (c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int),
}


def load_kernels(folder: Path | None) -> "Kernels | None":
    """The kernels of this machine, compiled if `folder` does not hold them yet; None where they cannot be had."""
    path = library(KERNELS, folder) if folder is not None else None
    try:
        return Kernels(path) if path is not None else None
    except OSError:  # a folder that nothing may be run from, or a torch without the threads that they need
        return None


class Kernels:
    """The compiled program with checks on what it is given.

    Raises:
        OSError: it cannot be loaded here.
    """

    def __init__(self, path: Path) -> None:
        self._program = ctypes.CDLL(str(path))
        for name, types in _SIGNATURES.items():
            function = getattr(self._program, name)
            function.argtypes, function.restype = types, None

    @staticmethod
    def fit(tensor: torch.Tensor) -> bool:
        """Whether this is a tensor that they compute with."""
        return tensor.device.type == "cpu" and tensor.dtype in _KINDS

    def causal_softmax_(self, scores_NSE: torch.Tensor) -> torch.Tensor:
        """Softmax of each row in place; the last of the S rows sees all columns, each before it one less."""
        self._program.nima_causal_softmax(
            _kind(scores_NSE), _address(scores_NSE), *scores_NSE.shape, torch.get_num_threads()
        )
        return scores_NSE

    def causal_softmax_gradient_(self, probs_NSE: torch.Tensor, grad_NSE: torch.Tensor) -> torch.Tensor:
        """Turn the gradient of what `causal_softmax_` gave into that of what it was given, in place."""
        assert probs_NSE.shape == grad_NSE.shape
        self._program.nima_causal_softmax_gradient(
            _kind(probs_NSE, grad_NSE),
            _address(probs_NSE),
            _address(grad_NSE),
            *probs_NSE.shape,
            torch.get_num_threads(),
        )
        return grad_NSE

    def cross_entropy_(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, *, ignored: int) -> torch.Tensor:
        """Turn logits into the loss's gradient in place, zero where the target is `ignored`; float32 losses `[N]`."""
        assert targets_N.dtype is torch.int64
        losses_N = torch.empty(len(targets_N))
        self._program.nima_cross_entropy(
            _kind(logits_NV),
            _address(logits_NV),
            _address(targets_N),
            ignored,
            *logits_NV.shape,
            _address(losses_N),
            torch.get_num_threads(),
        )
        return losses_N


def _kind(*tensors: torch.Tensor) -> int:
    (dtype,) = {tensor.dtype for tensor in tensors}
    return _KINDS[dtype]


def _address(tensor: torch.Tensor) -> int:
    assert tensor.is_contiguous()
    assert tensor.device.type == "cpu"
    return tensor.data_ptr()
