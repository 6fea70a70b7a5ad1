"""The kernels of the loss from integer products against PyTorch's cross-entropy in float64."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from nima_cli.engine.kernels.integers import Layout, OutputMatrix, PackedMatrix
from nima_cli.engine.kernels.kernels import Kernels
from tests.engine.kernels.near import IGNORE, numbers
from tests.engine.kernels.whole import factor, integers, numbers_of

Problem = tuple[PackedMatrix, OutputMatrix, torch.Tensor, torch.Tensor]


def problem(kernels: Kernels, positions: int, vocabulary: int) -> Problem:
    """The factors, and the logits and the output matrix in float64."""
    h_NC, head_VC = integers(positions, 24), integers(vocabulary, 24, seed=1)
    scales_N, scales_V = (numbers(size, dtype=torch.float32).abs() / 200 for size in (positions, vocabulary))
    left = replace(factor(kernels, h_NC, Layout.LEFT), scales=scales_N)
    right_CV = replace(factor(kernels, head_VC.T.contiguous(), Layout.RIGHT_TRANSPOSED), scales=scales_V)
    logits_NV = (h_NC.double() @ head_VC.double().T) * scales_N.double()[:, None] * scales_V.double()
    return left, OutputMatrix(right_CV, factor(kernels, head_VC, Layout.RIGHT)), logits_NV, head_VC.double()


# Around whole tiles and panels, and over several blocks of rows.
@pytest.mark.parametrize(("positions", "vocabulary"), [(1, 5), (16, 64), (37, 203), (64, 1003)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_linear_cross_entropy(
    compiled_kernels: Kernels,
    positions: int,
    vocabulary: int,
    dtype: torch.dtype,
) -> None:
    """Probabilities are within one step of their scale, and what is said of them is true of them as they are."""
    left, head, logits_NV, head_VC = problem(compiled_kernels, positions, vocabulary)
    targets_N = torch.arange(positions) * 15 % vocabulary
    targets_N[positions // 2 :][:1] = IGNORE
    out_NC = torch.empty(positions, 24, dtype=dtype)
    losses_N, probs_VN, scales_N = compiled_kernels.linear_cross_entropy(
        left, head, targets_N, ignored=IGNORE, out_NC=out_NC
    )
    expected_N = F.cross_entropy(logits_NV, targets_N, ignore_index=IGNORE, reduction="none")
    torch.testing.assert_close(losses_N.double(), expected_N, rtol=1e-5, atol=1e-5)
    q_NV = numbers_of(compiled_kernels, probs_VN, on_the_left=True).round().T.double()
    found_NV, probs_NV = q_NV * scales_N.double()[:, None], torch.softmax(logits_NV, dim=1)
    ignored = targets_N == IGNORE
    assert not q_NV[ignored].any()
    probs_NV[ignored] = 0.0
    assert ((found_NV - probs_NV).abs() <= 1.001 * scales_N.double()[:, None]).all()
    wanted_NC = found_NV @ head_VC
    assert float((out_NC.double() - wanted_NC).abs().max()) <= 2.0**-8 * max(1.0, float(wanted_NC.abs().max()))


def test_probabilities_are_right_on_the_whole(compiled_kernels: Kernels) -> None:
    """Rounded to the nearest, all small ones would be zero."""
    left, head, logits_NV, _ = problem(compiled_kernels, 200, 1003)
    _, probs_VN, scales_N = compiled_kernels.linear_cross_entropy(
        left, head, torch.arange(200), ignored=IGNORE, out_NC=torch.empty(200, 24)
    )
    found_NV = numbers_of(compiled_kernels, probs_VN, on_the_left=True).round().T.double() * scales_N.double()[:, None]
    probs_NV = torch.softmax(logits_NV, dim=1)
    assert float(found_NV.sum() / probs_NV.sum()) == pytest.approx(1.0, abs=0.01)
    for least, most in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 1.0)):
        few = (probs_NV > least * scales_N[:, None]) & (probs_NV <= most * scales_N[:, None])
        assert float(found_NV[few].sum() / probs_NV[few].sum()) == pytest.approx(1.0, abs=0.1)


def test_threads_change_no_bit_of_a_loss(compiled_kernels: Kernels) -> None:
    found = []
    for kernels in (compiled_kernels, compiled_kernels.alone()):
        left, head, *_ = problem(kernels, 100, 300)
        out_NC = torch.empty(100, 24, dtype=torch.bfloat16)
        losses_N, probs_VN, scales_N = kernels.linear_cross_entropy(
            left, head, torch.arange(100), ignored=IGNORE, out_NC=out_NC
        )
        found.append((losses_N, numbers_of(kernels, probs_VN, on_the_left=True), scales_N, out_NC))
    assert all(map(torch.equal, *found))


def test_foreign_targets_and_what_is_not_finite_are_refused(compiled_kernels: Kernels) -> None:
    left, head, *_ = problem(compiled_kernels, 4, 20)
    assert left.scales is not None
    assert head.head_CV.scales is not None
    left.scales[1] = float("nan")

    def losses(targets: list[int]) -> torch.Tensor:
        return compiled_kernels.linear_cross_entropy(
            left, head, torch.tensor(targets), ignored=IGNORE, out_NC=torch.empty(4, 24)
        )[0]

    assert losses([20, 3, 4, -1]).isnan().tolist() == [True, True, False, True]
    left.scales[1], head.head_CV.scales[7] = 1.0, float("inf")
    assert losses([1, 2, 3, 4]).isnan().all()
