"""The compiled kernels with which a CPU trains.

Tensors must be contiguous, on the CPU, and in float32 or bfloat16; arithmetic is float32. Results do not depend on the
number of threads.

Axis letters: N matrices or positions · S rows of a block · E columns of a block · V vocabulary
"""

from pathlib import Path

import torch

from nima_cli.engine.kernels.build import KERNELS, NoProgramError, library
from nima_cli.engine.kernels.integers import IntegerKernels
from nima_cli.engine.kernels.native import kind


def load_kernels(folder: Path, *, int8: bool = False) -> "Kernels":
    """Load the kernels, compiled first if `folder` does not hold them; NoProgramError if they cannot be had here."""
    path = library(KERNELS, folder)
    try:
        return Kernels(path, int8=int8)
    except OSError as error:  # a folder that nothing may be run from, or a torch without the threads that they need
        raise NoProgramError(f"what was compiled cannot be loaded: {error}") from error


class Kernels(IntegerKernels):
    """The loaded program; OSError if it cannot be loaded here.

    Attributes:
        int8: whether training multiplies 8-bit integers.
        attends: whether `NativeAttention` is the faster attention here.
    """

    def __init__(self, path: Path, *, int8: bool = False) -> None:
        super().__init__(path)
        self.int8 = int8
        self.attends = bool(self.ask("attention_is_fast"))

    def causal_softmax_(self, scores_NSE: torch.Tensor) -> torch.Tensor:
        """Softmax of each row in place; the last of the S rows sees all columns, each before it one less."""
        self.call("causal_softmax", kind(scores_NSE), scores_NSE, *scores_NSE.shape)
        return scores_NSE

    def causal_softmax_gradient_(self, probs_NSE: torch.Tensor, grad_NSE: torch.Tensor) -> torch.Tensor:
        """Turn the gradient of the probabilities into that of the scores, in place."""
        assert probs_NSE.shape == grad_NSE.shape
        self.call("causal_softmax_gradient", kind(probs_NSE, grad_NSE), probs_NSE, grad_NSE, *probs_NSE.shape)
        return grad_NSE

    def cross_entropy_(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, *, ignored: int) -> torch.Tensor:
        """Turn logits into the loss's gradient in place, zero where the target is `ignored`; float32 losses `[N]`."""
        assert targets_N.dtype is torch.int64
        losses_N = torch.empty(len(targets_N))
        self.call("cross_entropy", kind(logits_NV), logits_NV, targets_N, ignored, *logits_NV.shape, losses_N)
        return losses_N

    def accumulate_(self, total: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """`total += part` for a float32 `total` whose first axis may have gaps; torch would widen `part` first."""
        assert total.dtype is torch.float32
        assert total.shape == part.shape
        assert total[0].is_contiguous()
        self.call("accumulate", kind(part), total.data_ptr(), total.stride(0), part, len(part), part[0].numel())
        return total
