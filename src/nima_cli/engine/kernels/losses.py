"""The kernels of the cross-entropy whose logits are products of 8-bit integers.

Axis letters: N positions · C width · V vocabulary
"""

from ctypes import POINTER, Structure, byref, c_int, c_int64, c_void_p
from typing import ClassVar, NamedTuple

import torch

from nima_cli.engine.kernels.integers import IntegerKernels, empty_matrix
from nima_cli.engine.kernels.loaded import Signatures, Structures
from nima_cli.engine.kernels.packed_matrix import Factor, Form
from nima_cli.engine.kernels.tensors import address, kind, row_stride

_LOGITS = 1 << 20  # of torch's products at once, of four bytes


class Head(NamedTuple):
    """The output matrix as two right factors: times hidden states, and times gradients of logits."""

    head_CV: Factor
    head_VC: Factor


class _Head(Structure):
    _fields_ = tuple(
        (name, c_void_p)
        for name in ("by_rows", "by_columns", "excess_by_rows", "excess_by_columns", "row_scales", "column_scales")
    )


class _Targets(Structure):
    _fields_ = (("ids", c_void_p), ("ignored", c_int64))


class LossKernels(IntegerKernels):
    """`loss.cpp`. Positions whose target is `ignored` have neither a loss nor probabilities."""

    SIGNATURES: ClassVar[Signatures] = {
        "nima_quantized_cross_entropy": (
            *3 * (c_void_p,), POINTER(_Targets), *2 * (c_int64,), *2 * (c_void_p,), c_int64, c_void_p, c_int,
        ),
        "nima_linear_cross_entropy": (
            c_int, *2 * (c_void_p,), POINTER(_Head), POINTER(_Targets), *3 * (c_int64,), *4 * (c_void_p,), c_int,
        ),
    }  # fmt: skip
    STRUCTURES: ClassVar[Structures] = {"Head": _Head, "Targets": _Targets}

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

        The probabilities themselves, rounded by chance, go into `out_NV` as int8.
        """
        assert (sums_NV.dtype, targets_N.dtype, out_NV.dtype) == (torch.int32, torch.int64, torch.int8)
        assert sums_NV.shape == out_NV.shape == (*scales_N.shape, *scales_V.shape)
        losses_N, out_scales_N = torch.empty(len(sums_NV)), torch.empty(len(sums_NV))
        self._program.nima_quantized_cross_entropy(
            *map(address, (sums_NV, scales_N, scales_V)), byref(_Targets(address(targets_N), ignored)), *sums_NV.shape,
            address(losses_N), out_NV.data_ptr(), row_stride(out_NV), address(out_scales_N), self.threads,
        )  # fmt: skip
        return losses_N, out_scales_N

    def linear_cross_entropy(
        self,
        h_NC: Factor,
        head: Head,
        targets_N: torch.Tensor,
        *,
        ignored: int,
        out_NC: torch.Tensor,
    ) -> tuple[torch.Tensor, Factor, torch.Tensor]:
        """Losses `[N]` from hidden states, the probabilities as a factor `[V, N]`, and their scales `[N]`.

        The product of the probabilities and the output matrix goes into `out_NC`.
        """
        head_CV, head_VC = head
        if head_CV.excess is None:
            return self._by_torch(h_NC, head, targets_N, ignored, out_NC)
        positions, vocabulary = len(targets_N), head_VC.shape[0]
        assert h_NC.shape == out_NC.shape == (positions, head_VC.shape[1])
        assert head_CV.shape == (h_NC.shape[1], vocabulary)
        assert targets_N.dtype is torch.int64
        parts = (getattr(factor, part) for part in ("numbers", "excess", "scales") for factor in (head_CV, head_VC))
        losses_N, scales_N = torch.empty(positions), torch.empty(positions)
        probs_VN = self.empty_factor(Form.LEFT_TRANSPOSED, positions, vocabulary)
        assert h_NC.scales is not None
        self._program.nima_linear_cross_entropy(
            kind(out_NC), *map(address, (h_NC.numbers, h_NC.scales)), byref(_Head(*map(address, parts))),
            byref(_Targets(address(targets_N), ignored)), *h_NC.shape, vocabulary,
            *map(address, (losses_N, out_NC, probs_VN.numbers, scales_N)), self.threads,
        )  # fmt: skip
        return losses_N, probs_VN, scales_N

    def _by_torch(
        self, h_NC: Factor, head: Head, targets_N: torch.Tensor, ignored: int, out_NC: torch.Tensor
    ) -> tuple[torch.Tensor, Factor, torch.Tensor]:
        head_CV, head_VC = head
        assert h_NC.scales is not None
        assert head_CV.scales is not None
        positions, vocabulary = len(targets_N), head_VC.shape[0]
        probs_NV = empty_matrix(positions, vocabulary)
        found, rows = [], max(1, _LOGITS // vocabulary)
        for start in range(0, positions, rows):
            part = slice(start, start + rows)
            found.append(
                self.quantized_cross_entropy(
                    torch._int_mm(h_NC.numbers[part], head_CV.numbers), h_NC.scales[part], head_CV.scales,
                    targets_N[part], ignored=ignored, out_NV=probs_NV[part],
                )
            )  # fmt: skip
        losses_N, scales_N = map(torch.cat, zip(*found, strict=True))
        self.multiply(Factor((positions, vocabulary), probs_NV, scales_N), head_VC, out_NC)
        return losses_N, Factor((vocabulary, positions), probs_NV.T), scales_N
