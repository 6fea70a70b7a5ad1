"""What training on a CPU computes beside torch's matrix products, by a compiled program.

Each method is one pass over memory in torch's own threads. A number comes out the same whatever the number of threads.
Tensors must be contiguous, on the CPU, and in float32 or bfloat16; in between everything is float32.

Axis letters: N matrices or positions · S rows of a block · E columns of a block · V vocabulary · C width
"""

from pathlib import Path

import torch

from nima_cli.engine.kernels.build import KERNELS, NoProgramError, library
from nima_cli.engine.kernels.heads import HeadKernels
from nima_cli.engine.kernels.losses import LossKernels
from nima_cli.engine.kernels.native import kind, rows_of


def load_kernels(folder: Path, *, int8: bool = False) -> "Kernels":
    """The kernels of this machine, compiled if `folder` does not hold them yet.

    Args:
        folder: of compiled programs.
        int8: what the kernels' attribute says.

    Raises:
        NoProgramError: they cannot be had here.
    """
    path = library(KERNELS, folder)
    try:
        return Kernels(path, int8=int8)
    except OSError as error:  # a folder that nothing may be run from, or a torch without the threads that they need
        raise NoProgramError(f"what was compiled cannot be loaded: {error}") from error


class Kernels(HeadKernels, LossKernels):
    """All of them, and those that are neither about heads nor about integers.

    Attributes:
        int8: whether what trains with them multiplies 8-bit integers.

    Raises:
        OSError: it cannot be loaded here.
    """

    def __init__(self, path: Path, *, int8: bool = False) -> None:
        super().__init__(path)
        self.int8 = int8

    def causal_softmax_(self, scores_NSE: torch.Tensor) -> torch.Tensor:
        """Softmax of each row in place; the last of the S rows sees all columns, each before it one less."""
        self._call("causal_softmax", kind(scores_NSE), scores_NSE, *scores_NSE.shape)
        return scores_NSE

    def causal_softmax_gradient_(self, probs_NSE: torch.Tensor, grad_NSE: torch.Tensor) -> torch.Tensor:
        """Turn the gradient of what `causal_softmax_` gave into that of what it was given, in place."""
        assert probs_NSE.shape == grad_NSE.shape
        self._call("causal_softmax_gradient", kind(probs_NSE, grad_NSE), probs_NSE, grad_NSE, *probs_NSE.shape)
        return grad_NSE

    def cross_entropy_(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, *, ignored: int) -> torch.Tensor:
        """Turn logits into the loss's gradient in place, zero where the target is `ignored`; float32 losses `[N]`."""
        assert targets_N.dtype is torch.int64
        losses_N = torch.empty(len(targets_N))
        self._call("cross_entropy", kind(logits_NV), logits_NV, targets_N, ignored, *logits_NV.shape, losses_N)
        return losses_N

    def add_norm(
        self, x_NC: torch.Tensor, branch_NC: torch.Tensor | None, gain_C: torch.Tensor, epsilon: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sum of both, and that divided by each row's root mean square, times the float32 gain."""
        assert gain_C.dtype is torch.float32
        assert branch_NC is None or branch_NC.shape == x_NC.shape
        total_NC = torch.empty_like(x_NC) if branch_NC is not None else x_NC
        normed_NC, sizes = torch.empty_like(x_NC), rows_of(x_NC)
        types = kind(x_NC, branch_NC)
        self._call("add_norm", types, x_NC, branch_NC, gain_C, *sizes, epsilon, total_NC, normed_NC)
        return total_NC, normed_NC

    def add_norm_gradient(
        self,
        total_NC: torch.Tensor,
        gain_C: torch.Tensor,
        epsilon: float,
        *,
        grad_total_NC: torch.Tensor | None,
        grad_normed_NC: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """From the gradients of what `add_norm` gave, that of each summand and, in float32, that of the gain."""
        grad_x_NC, grad_gain_C = torch.empty_like(total_NC), torch.empty_like(gain_C)
        given = total_NC, gain_C, grad_normed_NC, grad_total_NC
        types = kind(total_NC, grad_normed_NC, grad_total_NC)
        self._call("add_norm_gradient", types, *given, *rows_of(total_NC), epsilon, grad_x_NC, grad_gain_C)
        return grad_x_NC, grad_gain_C

    def swiglu(self, x_NC: torch.Tensor) -> torch.Tensor:
        """`silu(gate) * up`, the gate being the first half of the last axis."""
        rows, width = rows_of(x_NC)
        y_NF = x_NC.new_empty(*x_NC.shape[:-1], width // 2)
        self._call("swiglu", kind(x_NC), x_NC, rows, width // 2, y_NF)
        return y_NF

    def swiglu_gradient(self, x_NC: torch.Tensor, grad_NF: torch.Tensor) -> torch.Tensor:
        """From the gradient of what `swiglu` gave, that of what it was given."""
        rows, width = rows_of(x_NC)
        assert rows_of(grad_NF) == (rows, width // 2)
        grad_x_NC = torch.empty_like(x_NC)
        self._call("swiglu_gradient", kind(x_NC, grad_NF), x_NC, grad_NF, rows, width // 2, grad_x_NC)
        return grad_x_NC

    def accumulate_(self, total: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """`total += part` for a float32 `total` whose first axis may have gaps; torch would widen `part` first."""
        assert total.dtype is torch.float32
        assert total.shape == part.shape
        assert total[0].is_contiguous()
        into = total.data_ptr(), total.stride(0)
        self._call("accumulate", kind(part), *into, part, len(part), part[0].numel())
        return total

    def drop(self, x: torch.Tensor, keep: torch.Tensor, factor: float) -> torch.Tensor:
        """`x * keep * factor`, of any shape; also its own gradient."""
        assert keep.dtype is torch.bool
        assert keep.shape == x.shape
        y = torch.empty_like(x)
        self._call("drop", kind(x), x, keep, factor, x.numel(), y)
        return y
