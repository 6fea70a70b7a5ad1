"""The kernels for 8-bit integers against the same functions in float64 or, where they are exact, in int64."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from nima_cli.engine.native.kernels import Kernels
from tests.engine.native.near import IGNORE, assert_near, dtypes, numbers


def integers(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-127, 128, (rows, columns), generator=generator, dtype=torch.int8)


def as_it_lies(matrix: torch.Tensor) -> torch.Tensor:
    return matrix


def as_a_part(matrix: torch.Tensor) -> torch.Tensor:
    """Some columns of a wider matrix."""
    return F.pad(matrix, (3, 2))[:, 3:-2]


def as_transposed(matrix: torch.Tensor) -> torch.Tensor:
    return as_a_part(matrix.T.contiguous()).T


LAYOUTS = [as_it_lies, as_a_part, as_transposed]


# Around whole words, tiles and panels, and larger than a block.
@pytest.mark.parametrize(("rows", "sums", "columns"), [(1, 1, 1), (5, 3, 7), (8, 32, 32), (33, 66, 40), (700, 90, 65)])
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
@dtypes
def test_multiply(
    compiled_kernels: Kernels,
    rows: int,
    sums: int,
    columns: int,
    left: Callable[[torch.Tensor], torch.Tensor],
    right: Callable[[torch.Tensor], torch.Tensor],
    dtype: torch.dtype,
) -> None:
    """Sums are exact, so that nothing is left to differ from but the scales' rounding."""
    one, other = left(integers(rows, sums)), right(integers(sums, columns, seed=1))
    row_scales, column_scales = (numbers(size, dtype=torch.float32).abs() / 100 for size in (rows, columns))
    plus, out = (numbers(rows, columns + 5, dtype=dtype, seed=seed)[:, :columns] for seed in (2, 3))
    exact = (one.long() @ other.long()).double() * column_scales.double()
    assert_near(compiled_kernels.multiply(one, row_scales, other, column_scales, out), exact * row_scales[:, None])
    assert_near(compiled_kernels.multiply(one, None, other, column_scales, out), exact)
    found = compiled_kernels.multiply(one, row_scales, other, column_scales, out, plus_NP=plus, factor=3.0)
    assert found is out
    assert_near(out, exact * row_scales[:, None] + 3.0 * plus.double(), factor=2)


def test_multiply_adds_up_the_greatest_numbers(compiled_kernels: Kernels) -> None:
    """The left factor's are shifted to be without a sign; what that adds must not overflow for good."""
    sums = 100_000
    for sign in (-127, 127):
        left, right = torch.full((1, sums), sign, dtype=torch.int8), torch.full((sums, 1), 127, dtype=torch.int8)
        found = compiled_kernels.multiply(left, None, right, torch.ones(1), torch.empty(1, 1))
        assert found.item() == float(torch.tensor(sign * 127 * sums).float())


@dtypes
@pytest.mark.parametrize(("size", "sums"), [(1, 4), (40, 33), (200, 64), (300, 20)])
def test_half_of_what_is_symmetric_is_enough(
    compiled_kernels: Kernels, size: int, sums: int, dtype: torch.dtype
) -> None:
    q, scales = integers(size, sums), numbers(size, dtype=torch.float32).abs()
    plus = numbers(size, size, dtype=dtype)
    plus = plus + plus.T
    for kernels in (compiled_kernels, compiled_kernels.alone()):
        half, whole = (
            kernels.multiply(q, scales, q.T, scales, plus.clone(), plus_NP=plus, factor=0.5, symmetric=symmetric)
            for symmetric in (True, False)
        )
        assert torch.equal(half, half.T)
        assert torch.equal(half.triu(), whole.triu())


def test_threads_change_no_bit_of_a_product(compiled_kernels: Kernels) -> None:
    left, right, scales = integers(900, 100), integers(100, 70, seed=1), torch.rand(70)
    results = [
        kernels.multiply(left, None, right, scales, torch.empty(900, 70))
        for kernels in (compiled_kernels, compiled_kernels.alone())
    ]
    assert torch.equal(*results)


def test_what_is_not_finite_is_none_after_a_product(compiled_kernels: Kernels) -> None:
    scales = torch.tensor([1.0, float("nan"), float("inf")])
    ones = torch.ones(3, 3, dtype=torch.int8)
    found = compiled_kernels.multiply(ones, scales, ones, torch.ones(3), torch.empty(3, 3))
    assert found.isfinite().all(dim=1).tolist() == [True, False, False]


@dtypes
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (9, 67), (40, 256)])
def test_swiglu_is_rounded_where_it_is_made(
    compiled_kernels: Kernels, rows: int, width: int, dtype: torch.dtype
) -> None:
    x, grad = numbers(rows, 2 * width, dtype=dtype), numbers(rows, width, dtype=dtype, seed=1)
    y, q, scales = compiled_kernels.swiglu_quantized(x)
    assert torch.equal(y, compiled_kernels.swiglu(x))
    apart, apart_scales = compiled_kernels.quantize_rows(y)
    assert torch.equal(q, apart)
    assert torch.equal(scales, apart_scales)
    q, scales = compiled_kernels.swiglu_gradient_quantized(x, grad)
    expected = compiled_kernels.swiglu_gradient(x.float(), grad.float()).double()
    wide = scales.double()[:, None]
    assert (q.abs().amax(1) == 127).all()
    assert ((q.double() * wide - expected).abs() <= 0.5001 * wide + 1e-6).all()


@dtypes
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 3), (16, 48), (300, 67)])
def test_quantize(compiled_kernels: Kernels, rows: int, columns: int, dtype: torch.dtype) -> None:
    """The greatest of each row or column becomes 127, and all are within half of their scale."""
    x, factors = numbers(rows, columns, dtype=dtype) * 3, numbers(rows, dtype=torch.float32, seed=1)
    for dim, wanted, (q, scales) in (
        (1, x, compiled_kernels.quantize_rows(x)),
        (0, x, compiled_kernels.quantize_columns(x)),
        (0, x.float() * factors[:, None], compiled_kernels.quantize_columns(x, factors)),
    ):
        assert (q.dtype, scales.dtype) == (torch.int8, torch.float32)
        assert (q.abs().amax(dim) == 127).all()
        wide = scales.double().unsqueeze(dim)
        assert ((q.double() * wide - wanted.double()).abs() <= 0.5001 * wide).all()


def test_quantize_what_is_zero_or_tiny_or_not_finite(compiled_kernels: Kernels) -> None:
    x = torch.tensor([[0.0, 0.0], [1e-40, -1e-39], [1.0, float("inf")], [float("nan"), 1.0], [-2.0, 1.0]])
    q, scales = compiled_kernels.quantize_rows(x)
    assert not q[:2].any()
    assert scales[:2].isfinite().all()
    assert q[4].tolist() == [-127, 64]
    sums = torch.eye(2, dtype=torch.int32).repeat(3, 1)[:5]
    y = compiled_kernels.dequantize(sums, scales, torch.ones(2), torch.empty(5, 2))
    assert y.isfinite().all(dim=1).tolist() == [True, True, False, False, True]
    _, scales = compiled_kernels.quantize_columns(x)
    assert not scales.isfinite().any()


@dtypes
def test_dequantize(compiled_kernels: Kernels, dtype: torch.dtype) -> None:
    sums = torch.arange(-300, 300, dtype=torch.int32).view(8, 75)
    rows, columns = numbers(8, dtype=torch.float32) / 100, numbers(75, dtype=torch.float32, seed=1)
    plus, out = (numbers(8, 75, dtype=dtype, seed=seed) for seed in (2, 3))
    wide = sums.double() * columns.double()
    assert_near(compiled_kernels.dequantize(sums, rows, columns, out), wide * rows.double()[:, None])
    assert_near(compiled_kernels.dequantize(sums, None, columns, out), wide)
    found = compiled_kernels.dequantize(sums, rows, columns, out, plus_NP=plus, factor=3.0)
    assert found is out
    assert_near(out, wide * rows.double()[:, None] + 3.0 * plus.double(), factor=2)
    assert_near(compiled_kernels.dequantize(sums, rows, columns, plus, plus_NP=plus, factor=3.0), out.double())


def test_quantized_cross_entropy(compiled_kernels: Kernels) -> None:
    """Probabilities are within one step of their scale and, rounded by chance, right on the whole."""
    sums = torch.randint(-1000, 1000, (64, 1003), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    rows, columns = (numbers(size, dtype=torch.float32).abs() / 20 for size in sums.shape)
    targets = torch.arange(64) * 15
    targets[5] = IGNORE
    q = torch.full(sums.shape, 99, dtype=torch.int8)
    losses, scales = compiled_kernels.quantized_cross_entropy(sums, rows, columns, targets, ignored=IGNORE, out_NV=q)
    logits = sums.double() * rows.double()[:, None] * columns.double()
    expected = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-5)
    assert not q[5].any()
    probs, found = torch.softmax(logits, dim=1), q.double() * scales.double()[:, None]
    probs[5] = 0.0
    assert ((found - probs).abs() <= 1.001 * scales.double()[:, None]).all()
    assert float(found.sum() / probs.sum()) == pytest.approx(1.0, abs=0.01)
    small = probs < 0.2 * scales.double()[:, None]  # to the nearest, all of these would be zero
    assert float(found[small].sum() / probs[small].sum()) == pytest.approx(1.0, abs=0.1)


def test_quantized_cross_entropy_refuses_foreign_targets_and_what_is_not_finite(compiled_kernels: Kernels) -> None:
    sums = torch.ones(3, 20, dtype=torch.int32)
    rows = torch.tensor([1.0, float("nan"), 1.0])
    columns = torch.ones(20)
    targets = torch.tensor([20, 3, 4])
    losses, _ = compiled_kernels.quantized_cross_entropy(
        sums, rows, columns, targets, ignored=IGNORE, out_NV=torch.empty(3, 20, dtype=torch.int8)
    )
    assert losses.isnan().tolist() == [True, True, False]
    columns[7] = float("inf")
    losses, _ = compiled_kernels.quantized_cross_entropy(
        sums, torch.ones(3), columns, targets, ignored=IGNORE, out_NV=torch.empty(3, 20, dtype=torch.int8)
    )
    assert losses.isnan().all()
