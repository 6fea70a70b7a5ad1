"""One optimizer step: what accumulation, dropout, clipping and refusal do to the weights."""

import itertools

import pytest
import torch

from nima_cli.config.schema import TrainingConfig
from nima_cli.engine.data.store.dataset import Batch
from nima_cli.engine.device import Device
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.training.loss import IGNORE
from nima_cli.engine.training.optim import Optimizer
from nima_cli.engine.training.step import LossScale, TrainStep

SHAPE = ModelShape(
    vocab_size=61, n_layers=2, d_model=32, n_heads=2, n_kv_heads=2, head_dim=16, d_ff=48, context_length=16,
    qk_norm=True, tie_embeddings=True, rope_theta=10000.0,
)  # fmt: skip
CPU = Device(torch.device("cpu"), torch.float32)


class Watched(Optimizer):
    """An optimizer that remembers the gradient it was last given."""

    given: torch.Tensor

    def step(self, learning_rate: float, skipped: torch.Tensor) -> None:
        self.given = torch.cat([p.grad.flatten() for p in self.parameters if p.grad is not None])
        super().step(learning_rate, skipped)


def make_step(*, dropout: float = 0.0, max_grad_norm: float = 0.0) -> TrainStep:
    model = GPT(SHAPE, dropout=dropout)
    model.init_weights(0)
    # Output projections start at zero, behind which nothing would learn in a first step.
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    training = TrainingConfig(
        optimizer="adamw", weight_decay=0.1, embedding_weight_decay=0.1, seed=7, max_grad_norm=max_grad_norm
    )
    step = TrainStep(model, training, CPU)
    step.optimizer = Watched(model, training)
    return step


def make_batch(rows: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(2)
    inputs_BT = torch.randint(0, 61, (rows, 16), generator=generator)
    targets_BT = torch.randint(0, 61, (rows, 16), generator=generator)
    # Rows with unequal numbers of targets: a mean of means would differ from the mean.
    targets_BT[0, 2:] = IGNORE
    targets_BT[5, :9] = IGNORE
    return Batch(inputs_BT, targets_BT)


def rows_of(batches: list[Batch], first: int = 0) -> list[range]:
    """Row numbers of micro-batches that follow each other."""
    starts = itertools.accumulate((len(batch.inputs_BT) for batch in batches), initial=first)
    return [range(start, start + len(batch.inputs_BT)) for start, batch in zip(starts, batches, strict=False)]


def gradients_of(step: TrainStep, batches: list[Batch], first_row: int = 0) -> tuple[torch.Tensor, float, float]:
    """The gradient that the optimizer gets, the loss sum, and the norm that is reported."""
    assert isinstance(step.optimizer, Watched)
    outcome = step(batches, sequences=rows_of(batches, first_row), learning_rate=1e-3)
    return step.optimizer.given, outcome.loss_sum.item(), outcome.grad_norm.item()


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_accumulating_micro_batches_equals_one_big_batch(parts: int) -> None:
    whole = make_batch()
    micro = [
        Batch(*pair)
        for pair in zip(whole.inputs_BT.chunk(parts), whole.targets_BT.chunk(parts), strict=True)
    ]  # fmt: skip
    big, big_loss, big_norm = gradients_of(make_step(), [whole])
    small, small_loss, small_norm = gradients_of(make_step(), micro)
    assert big.norm() > 0.01
    torch.testing.assert_close(small, big, rtol=1e-5, atol=1e-6)
    assert small_loss == pytest.approx(big_loss, rel=1e-6)
    assert small_norm == pytest.approx(big_norm, rel=1e-5)


def test_tokens_count_what_carries_loss() -> None:
    batch = make_batch()
    assert make_step()([batch, batch], sequences=rows_of([batch, batch]), learning_rate=0.0).tokens == 2 * (
        8 * 16 - 14 - 9
    )


def test_dropout_depends_on_the_position_alone() -> None:
    batch = make_batch()
    first, *_ = gradients_of(make_step(dropout=0.3), [batch], first_row=40)
    torch.rand(100)  # whatever else draws random numbers
    again, *_ = gradients_of(make_step(dropout=0.3), [batch], first_row=40)
    other, *_ = gradients_of(make_step(dropout=0.3), [batch], first_row=48)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("parts", [1, 2, 8])
def test_dropout_does_not_depend_on_how_rows_are_grouped(parts: int) -> None:
    whole = make_batch()
    micro = [
        Batch(*pair)
        for pair in zip(whole.inputs_BT.chunk(parts), whole.targets_BT.chunk(parts), strict=True)
    ]  # fmt: skip
    big, big_loss, _ = gradients_of(make_step(dropout=0.3), [whole], first_row=3)
    small, small_loss, _ = gradients_of(make_step(dropout=0.3), micro, first_row=3)
    torch.testing.assert_close(small, big, rtol=1e-5, atol=1e-6)
    assert small_loss == pytest.approx(big_loss, rel=1e-6)


def test_dropout_differs_between_micro_batches() -> None:
    batch = make_batch()
    _, once, _ = gradients_of(make_step(dropout=0.3), [batch])
    _, twice, _ = gradients_of(make_step(dropout=0.3), [batch, batch])
    assert twice != pytest.approx(2 * once, rel=1e-6)


@pytest.mark.parametrize(("limit", "clips"), [(0.05, True), (1e6, False), (0.0, False)])
def test_gradients_are_clipped_to_the_norm_and_reported_unclipped(limit: float, clips: bool) -> None:
    free, _, free_norm = gradients_of(make_step(), [make_batch()])
    clipped, _, reported = gradients_of(make_step(max_grad_norm=limit), [make_batch()])
    assert reported == pytest.approx(free_norm)
    assert free_norm == pytest.approx(free.norm().item(), rel=1e-5)
    assert free_norm > 0.05
    expected = free * (0.05 / free_norm) if clips else free
    torch.testing.assert_close(clipped, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_refused(value: float) -> None:
    step = make_step(max_grad_norm=1.0)
    before = {name: parameter.detach().clone() for name, parameter in step.model.named_parameters()}
    poisoned = step.model.norm.weight.register_hook(  # type: ignore[no-untyped-call]
        lambda gradient: gradient * value
    )
    outcome = step([make_batch()], sequences=[range(8)], learning_rate=0.1)
    assert outcome.skipped.item() == 1.0
    assert all(torch.equal(before[name], parameter) for name, parameter in step.model.named_parameters())
    poisoned.remove()
    assert step([make_batch()], sequences=[range(8, 16)], learning_rate=0.1).skipped.item() == 0.0
    assert not torch.equal(before["norm.weight"], step.model.norm.weight)


def test_loss_scale_halves_on_overflow_and_doubles_after_a_calm_while() -> None:
    scale = LossScale(value=64.0, growth_interval=3)
    values = []
    for overflow in (True, False, False, True, False, False, False, False):
        scale.update(overflow)
        values.append(scale.value)
    assert values == [32.0, 32.0, 32.0, 16.0, 16.0, 16.0, 32.0, 32.0]


def test_the_loss_scale_leaves_gradients_as_they_are() -> None:
    plain, _, plain_norm = gradients_of(make_step(max_grad_norm=0.05), [make_batch()])
    step = make_step(max_grad_norm=0.05)
    step.loss_scale = LossScale(value=1024.0)
    scaled, _, scaled_norm = gradients_of(step, [make_batch()])
    assert scaled_norm == pytest.approx(plain_norm, rel=1e-5)
    torch.testing.assert_close(scaled, plain, rtol=1e-4, atol=1e-7)
    assert step.loss_scale.calm_steps == 1
