"""The cross-entropy from integer products against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from nima_cli.engine.kernels import quantized
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.training.loss import IGNORE, linear_cross_entropy

WIDTH, VOCAB = 32, 500


def make_problem(positions: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States that know their targets more or less well, as those of a model that has learnt something."""
    generator = torch.Generator().manual_seed(positions)
    head_VC = torch.randn(VOCAB, WIDTH, generator=generator)
    targets_N = torch.randint(0, VOCAB, (positions,), generator=generator)
    knowing_N1 = torch.rand(positions, 1, generator=generator) / 4
    h_NC = head_VC[targets_N] * knowing_N1 + 0.3 * torch.randn(positions, WIDTH, generator=generator)
    targets_N[torch.rand(positions, generator=generator) < 0.2] = IGNORE
    return h_NC.requires_grad_(), head_VC.requires_grad_(), targets_N


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("positions", [1, 7, 130, 300])
def test_value_and_gradients_are_near_the_plain_form(
    int8_kernels: Kernels, positions: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several pieces of positions, whole and not."""
    monkeypatch.setattr(quantized, "_PROBABILITIES", 128 * VOCAB)
    h_NC, head_VC, targets_N = make_problem(positions)
    targets_N[0] = 3
    typed_NC = h_NC.detach().to(dtype).requires_grad_()
    loss = linear_cross_entropy(typed_NC, head_VC, targets_N, int8_kernels)
    plain = F.cross_entropy(F.linear(h_NC, head_VC), targets_N, ignore_index=IGNORE, reduction="sum")
    assert loss.dtype is torch.float32
    assert loss.item() == pytest.approx(plain.item(), rel=0.02)
    found = torch.autograd.grad(loss * 0.37, [typed_NC, head_VC])
    wanted = torch.autograd.grad(plain * 0.37, [h_NC, head_VC])
    assert [each.dtype for each in found] == [dtype, torch.float32]
    for one, other in zip(found, wanted, strict=True):
        assert float((one.float() - other).norm() / other.norm()) < 0.04


def test_a_foreign_target_makes_the_step_refused(int8_kernels: Kernels) -> None:
    h_NC, head_VC, targets_N = make_problem(9)
    targets_N[4] = VOCAB
    assert linear_cross_entropy(h_NC, head_VC, targets_N, int8_kernels).isnan()


def test_ignored_positions_carry_nothing(int8_kernels: Kernels) -> None:
    h_NC, head_VC, _ = make_problem(9)
    loss = linear_cross_entropy(h_NC, head_VC, torch.full((9,), IGNORE), int8_kernels)
    assert loss.item() == 0.0
    assert all(not found.any() for found in torch.autograd.grad(loss, [h_NC, head_VC]))


def test_the_small_probabilities_of_a_sure_model_are_not_lost(int8_kernels: Kernels) -> None:
    """Rounded to the nearest, all but the greatest would be zero, and what never comes would not be unlearnt."""
    head_VC, h_NC = torch.zeros(VOCAB, 2), torch.ones(2000, 2)
    head_VC[0] = 4.0
    head_VC.requires_grad_()
    loss = linear_cross_entropy(h_NC, head_VC, torch.zeros(2000, dtype=torch.int64), int8_kernels)
    (found_VC,) = torch.autograd.grad(loss, [head_VC])
    plain = F.cross_entropy(F.linear(h_NC, head_VC), torch.zeros(2000, dtype=torch.int64), reduction="sum")
    (wanted_VC,) = torch.autograd.grad(plain, [head_VC])
    assert 0.0 < float(wanted_VC[1, 0]) < 1.0
    assert float(found_VC[1:].sum()) == pytest.approx(float(wanted_VC[1:].sum()), rel=0.1)
