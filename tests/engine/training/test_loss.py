"""The chunked cross-entropy against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.training.loss import IGNORE, linear_cross_entropy, loss_and_correct, positions_at_once

WIDTH, VOCAB = 24, 67
CHUNK = positions_at_once(VOCAB, 4, on_cpu=True)


def make_problem(positions: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(positions)
    h_NC = torch.randn(positions, WIDTH, generator=generator)
    head_VC = torch.randn(VOCAB, WIDTH, generator=generator)
    targets_N = torch.randint(0, VOCAB, (positions,), generator=generator)
    targets_N[torch.rand(positions, generator=generator) < 0.3] = IGNORE
    return h_NC, head_VC, targets_N


def gradients(loss: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss * 0.37, inputs)


@pytest.mark.parametrize("positions", [1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_value_and_gradients_equal_the_plain_form(positions: int, kernels: Kernels | None) -> None:
    h_NC, head_VC, targets_N = make_problem(positions)
    h_NC.requires_grad_()
    head_VC.requires_grad_()
    loss = linear_cross_entropy(h_NC, head_VC, targets_N, kernels)
    plain = F.cross_entropy(F.linear(h_NC, head_VC), targets_N, ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-5)
    for found, expected in zip(gradients(loss, h_NC, head_VC), gradients(plain, h_NC, head_VC), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_ignored_positions_carry_nothing(kernels: Kernels | None) -> None:
    h_NC, head_VC, _ = make_problem(9)
    h_NC.requires_grad_()
    head_VC.requires_grad_()
    loss = linear_cross_entropy(h_NC, head_VC, torch.full((9,), IGNORE), kernels)
    assert loss.item() == 0.0
    assert all(not found.any() for found in gradients(loss, h_NC, head_VC))


def test_bfloat16_is_close_and_keeps_the_types(kernels: Kernels | None) -> None:
    h_NC, head_VC, targets_N = make_problem(CHUNK + 40)
    half_NC = h_NC.to(torch.bfloat16).requires_grad_()
    head_VC.requires_grad_()
    loss = linear_cross_entropy(half_NC, head_VC, targets_N, kernels)
    assert loss.dtype is torch.float32
    plain = F.cross_entropy(F.linear(h_NC, head_VC), targets_N, ignore_index=IGNORE, reduction="sum")
    assert loss.item() == pytest.approx(plain.item(), rel=2e-2)
    grad_h_NC, grad_head_VC = gradients(loss, half_NC, head_VC)
    assert (grad_h_NC.dtype, grad_head_VC.dtype) == (torch.bfloat16, torch.float32)
    (expected_VC,) = gradients(plain, head_VC)
    assert (grad_head_VC - expected_VC).norm() < 0.03 * expected_VC.norm()


def test_loss_and_correct_count_every_position_that_has_a_target() -> None:
    h_NC, head_VC, targets_N = make_problem(CHUNK + 7)
    logits_NV = F.linear(h_NC, head_VC)
    best_N = logits_NV.argmax(dim=-1)
    targets_N[::4] = best_N[::4]
    loss, hits = loss_and_correct(h_NC, head_VC, targets_N)
    plain = F.cross_entropy(logits_NV.double(), targets_N, ignore_index=IGNORE, reduction="sum")
    assert loss.dtype is torch.float64
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    assert hits.item() == int((best_N == targets_N).sum())
    assert hits.item() >= len(range(0, CHUNK + 7, 4))


@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_large_vocabulary_has_fewer_logits_at_once(on_cpu: bool) -> None:
    most = 128e6 if on_cpu else 256e6
    for vocabulary in (257, 8192, 49_152, 151_936, 1 << 20):
        for size in (2, 4):
            assert positions_at_once(vocabulary, size, on_cpu=on_cpu) * vocabulary * size <= most
    assert positions_at_once(1 << 30, 4, on_cpu=on_cpu) == 1
    assert positions_at_once(8192, 2, on_cpu=on_cpu) == (512 if on_cpu else 8192)  # as runs from random weights had


def test_chunks_of_a_large_vocabulary_change_no_value(kernels: Kernels | None) -> None:
    positions, vocabulary = 210, 100_003
    assert positions_at_once(vocabulary, 4, on_cpu=True) < positions
    generator = torch.Generator().manual_seed(0)
    h_NC = torch.randn(positions, 8, generator=generator).requires_grad_()
    head_VC = torch.randn(vocabulary, 8, generator=generator)
    targets_N = torch.randint(0, vocabulary, (positions,), generator=generator)
    loss = linear_cross_entropy(h_NC, head_VC, targets_N, kernels)
    plain = F.cross_entropy(F.linear(h_NC, head_VC), targets_N, reduction="sum")
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*(gradients(each, h_NC)[0] for each in (loss, plain)), rtol=1e-4, atol=1e-5)
    assert loss_and_correct(h_NC, head_VC, targets_N)[0].item() == pytest.approx(plain.item(), rel=1e-5)
