"""The kernels of the cross-entropy whose logits are products of 8-bit integers.

Axis letters: N positions · C width · V vocabulary
"""

from typing import NamedTuple

import torch

from nima_cli.engine.kernels.integers import IntegerKernels, empty_matrix
from nima_cli.engine.kernels.native import Head, Targets, address, kind, row_stride
from nima_cli.engine.kernels.packed_matrix import Layout, PackedMatrix

_LOGITS = 1 << 20  # of torch's products at once, of four bytes


class OutputMatrix(NamedTuple):
    """It as two right factors: times hidden states, and times gradients of logits."""

    head_CV: PackedMatrix
    head_VC: PackedMatrix


class LossKernels(IntegerKernels):
    """`loss.cpp`. Positions whose target is `ignored` have neither a loss nor probabilities."""

    def quantized_cross_entropy(
        self,
        sums_NV: torch.Tensor,
        scales_N: torch.Tensor,
        scales_V: torch.Tensor,
        targets_N: torch.Tensor,
        *,
        ignored: int,
        out_NV: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses `[N]` of logits, which are integers times their scales, and the scales `[N]` of the probabilities.

        The probabilities themselves, stochastically rounded, go into `out_NV` as int8.
        """
        assert (sums_NV.dtype, targets_N.dtype, out_NV.dtype) == (torch.int32, torch.int64, torch.int8)
        assert sums_NV.shape == out_NV.shape == (*scales_N.shape, *scales_V.shape)
        losses_N, out_scales_N = torch.empty(len(sums_NV)), torch.empty(len(sums_NV))
        targets = Targets(address(targets_N), ignored)
        out = out_NV.data_ptr(), row_stride(out_NV)
        given = sums_NV, scales_N, scales_V, targets
        self._call("quantized_cross_entropy", *given, *sums_NV.shape, losses_N, *out, out_scales_N)
        return losses_N, out_scales_N

    def linear_cross_entropy(
        self, h_NC: PackedMatrix, head: OutputMatrix, targets_N: torch.Tensor, *, ignored: int, out_NC: torch.Tensor
    ) -> tuple[torch.Tensor, PackedMatrix, torch.Tensor]:
        """Losses `[N]` from hidden states, the probabilities as a factor `[V, N]`, and their scales `[N]`.

        The product of the probabilities and the output matrix goes into `out_NC`.
        """
        head_CV, head_VC = head
        if head_CV.zero_point_correction is None:
            return self._by_torch(h_NC, head, targets_N, ignored, out_NC)
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

    def _by_torch(
        self, h_NC: PackedMatrix, head: OutputMatrix, targets_N: torch.Tensor, ignored: int, out_NC: torch.Tensor
    ) -> tuple[torch.Tensor, PackedMatrix, torch.Tensor]:
        head_CV, head_VC = head
        assert h_NC.scales is not None
        assert head_CV.scales is not None
        positions, vocabulary = len(targets_N), head_VC.shape[0]
        probs_NV = empty_matrix(positions, vocabulary)
        found, rows = [], max(1, _LOGITS // vocabulary)
        for start in range(0, positions, rows):
            part = slice(start, start + rows)
            sums_NV = torch._int_mm(h_NC.data[part], head_CV.data)
            scales = h_NC.scales[part], head_CV.scales
            found.append(
                self.quantized_cross_entropy(sums_NV, *scales, targets_N[part], ignored=ignored, out_NV=probs_NV[part])
            )
        losses_N, scales_N = map(torch.cat, zip(*found, strict=True))
        self.multiply(PackedMatrix((positions, vocabulary), probs_NV, scales_N), head_VC, out_NC)
        return losses_N, PackedMatrix((vocabulary, positions), probs_NV.T), scales_N
