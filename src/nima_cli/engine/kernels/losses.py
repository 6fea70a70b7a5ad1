"""The kernels of the cross-entropy whose logits are products of 8-bit integers.

Axis letters: N positions · C width · V vocabulary
"""

from typing import NamedTuple

import torch

from nima_cli.engine.kernels.integers import IntegerKernels, Layout, PackedMatrix
from nima_cli.engine.kernels.native import Head, Targets, address, kind


class OutputMatrix(NamedTuple):
    """It as two right factors: times hidden states, and times gradients of logits."""

    head_CV: PackedMatrix
    head_VC: PackedMatrix


class LossKernels(IntegerKernels):
    """`loss.cpp`. Positions whose target is `ignored` have neither a loss nor probabilities."""

    def linear_cross_entropy(
        self, h_NC: PackedMatrix, head: OutputMatrix, targets_N: torch.Tensor, *, ignored: int, out_NC: torch.Tensor
    ) -> tuple[torch.Tensor, PackedMatrix, torch.Tensor]:
        """Losses `[N]` from hidden states, the probabilities as a factor `[V, N]`, and their scales `[N]`.

        The product of the probabilities and the output matrix goes into `out_NC`.
        """
        head_CV, head_VC = head
        positions, vocabulary = len(targets_N), head_VC.shape[0]
        assert h_NC.shape == out_NC.shape == (positions, head_VC.shape[1])
        assert head_CV.shape == (h_NC.shape[1], vocabulary)
        assert targets_N.dtype is torch.int64
        parts = [getattr(each, part) for part in ("data", "zero_point_correction", "scales") for each in head]
        losses_N, scales_N = torch.empty(positions), torch.empty(positions)
        probs_VN = self.empty_packed(Layout.LEFT_TRANSPOSED, positions, vocabulary)
        self._call(
            "linear_cross_entropy",
            kind(out_NC),
            h_NC.data,
            h_NC.scales,
            Head(*map(address, parts)),
            Targets(address(targets_N), ignored),
            *h_NC.shape,
            vocabulary,
            losses_N,
            out_NC,
            probs_VN.data,
            scales_N,
        )
        return losses_N, probs_VN, scales_N
