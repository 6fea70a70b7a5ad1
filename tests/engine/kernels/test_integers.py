"""The kernels for 8-bit integers against the same functions in float64 or, where they are exact, of whole numbers."""

from dataclasses import replace

import pytest
import torch

from nima_cli.engine.kernels.functions import SwiGLU
from nima_cli.engine.kernels.integers import Layout
from nima_cli.engine.kernels.kernels import Kernels
from tests.engine.kernels.near import assert_near, dtypes, gradients_of, numbers
from tests.engine.kernels.whole import factor, integers, numbers_of


# Around whole words, tiles, panels and groups, and larger than a block.
@pytest.mark.parametrize(("rows", "sums", "columns"), [(1, 1, 1), (5, 3, 7), (8, 32, 32), (33, 66, 40), (700, 90, 65)])
@pytest.mark.parametrize("left", [Layout.LEFT, Layout.LEFT_TRANSPOSED], ids=str)
@pytest.mark.parametrize("right", [Layout.RIGHT, Layout.RIGHT_TRANSPOSED], ids=str)
@dtypes
def test_multiply(
    compiled_kernels: Kernels,
    rows: int,
    sums: int,
    columns: int,
    left: Layout,
    right: Layout,
    dtype: torch.dtype,
) -> None:
    """Sums are exact, so that nothing is left to differ from but the scales' rounding."""
    one, other = integers(rows, sums), integers(sums, columns, seed=1)
    row_scales, column_scales = (numbers(size, dtype=torch.float32).abs() / 100 for size in (rows, columns))
    scaled = replace(factor(compiled_kernels, one, left), scales=row_scales)
    plain = replace(scaled, scales=None)
    by_columns = replace(factor(compiled_kernels, other, right), scales=column_scales)
    plus, out = (numbers(rows, columns + 5, dtype=dtype, seed=seed)[:, :columns] for seed in (2, 3))
    exact = (one.double() @ other.double()) * column_scales.double()
    assert_near(compiled_kernels.multiply(scaled, by_columns, out), exact * row_scales[:, None])
    assert_near(compiled_kernels.multiply(plain, by_columns, out), exact)
    found = compiled_kernels.multiply(scaled, by_columns, out, plus_NP=plus, factor=3.0)
    assert found is out
    assert_near(out, exact * row_scales[:, None] + 3.0 * plus.double(), factor=2)


def test_multiply_adds_up_the_greatest_numbers(compiled_kernels: Kernels) -> None:
    """Our left factor's are shifted to be without a sign; what that adds must not overflow for good."""
    sums = 100_000
    right = factor(compiled_kernels, torch.full((sums, 1), 127.0), Layout.RIGHT)
    for sign in (-127, 127):
        left = factor(compiled_kernels, torch.full((1, sums), float(sign)), Layout.LEFT)
        found = compiled_kernels.multiply(left, right, torch.empty(1, 1))
        assert found.item() == float(torch.tensor(sign * 127 * sums).float())


@dtypes
@pytest.mark.parametrize(("size", "sums"), [(1, 4), (40, 33), (200, 64), (300, 20)])
def test_half_of_what_is_symmetric_is_enough(
    compiled_kernels: Kernels, size: int, sums: int, dtype: torch.dtype
) -> None:
    scales = numbers(size, dtype=torch.float32).abs()
    plus = numbers(size, size, dtype=dtype)
    plus = plus + plus.T
    left, right = (
        replace(each, scales=scales)
        for each in compiled_kernels.quantize_rows(integers(size, sums), Layout.LEFT, Layout.RIGHT_TRANSPOSED)
    )
    for kernels in (compiled_kernels, compiled_kernels.alone()):
        half, whole = (
            kernels.multiply(left, right, plus.clone(), plus_NP=plus, factor=0.5, symmetric=symmetric)
            for symmetric in (True, False)
        )
        assert torch.equal(half, half.T)
        assert torch.equal(half.triu(), whole.triu())


@pytest.mark.parametrize("form", Layout, ids=str)
def test_threads_change_no_bit(compiled_kernels: Kernels, form: Layout) -> None:
    """Neither of factors nor of products."""
    x = numbers(900, 70, dtype=torch.bfloat16)
    for rounding in ("quantize_rows", "quantize_columns"):
        several, one = (
            numbers_of(kernels, getattr(kernels, rounding)(x, form)[0], on_the_left=form.on_the_left)
            for kernels in (compiled_kernels, compiled_kernels.alone())
        )
        assert torch.equal(several, one)


def test_what_is_not_finite_is_none_after_a_product(compiled_kernels: Kernels) -> None:
    ones = torch.full((3, 3), 127.0)
    left = replace(factor(compiled_kernels, ones, Layout.LEFT), scales=torch.tensor([1.0, float("nan"), float("inf")]))
    found = compiled_kernels.multiply(left, factor(compiled_kernels, ones, Layout.RIGHT), torch.empty(3, 3))
    assert found.isfinite().all(dim=1).tolist() == [True, False, False]


@dtypes
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 3), (16, 48), (300, 67)])
def test_quantize(compiled_kernels: Kernels, rows: int, columns: int, dtype: torch.dtype) -> None:
    """In each form the greatest of each row or column becomes 127, and all are within half of their scale."""
    x, factors = numbers(rows, columns, dtype=dtype) * 3, numbers(rows, dtype=torch.float32, seed=1)
    for dim, wanted, made in (
        (1, x.float(), compiled_kernels.quantize_rows(x, *Layout)),
        (0, x.float(), compiled_kernels.quantize_columns(x, *Layout)),
        (0, x.float() * factors[:, None], compiled_kernels.quantize_columns(x, *Layout, factors_N=factors)),
    ):
        scales = (wanted.abs().amax(dim) / 127).double().unsqueeze(dim)
        for form, found in zip(Layout, made, strict=True):
            has_scales = (form.on_the_left != form.transposed) == (dim == 1)
            assert (found.scales is not None) == has_scales
            q = numbers_of(compiled_kernels, replace(found, scales=None), on_the_left=form.on_the_left).round()
            q = q.T if form.transposed else q
            assert (q.abs().amax(dim) == 127).all()
            assert ((q.double() * scales - wanted.double()).abs() <= 0.5001 * scales).all()
            if found.scales is not None:
                torch.testing.assert_close(found.scales.double(), scales.squeeze(dim))


def test_quantize_what_is_zero_or_tiny_or_not_finite(compiled_kernels: Kernels) -> None:
    x = torch.tensor([[0.0, 0.0], [1e-40, -1e-39], [1.0, float("inf")], [float("nan"), 1.0], [-2.0, 1.0]])
    (found,) = compiled_kernels.quantize_rows(x, Layout.LEFT)
    q = numbers_of(compiled_kernels, replace(found, scales=None), on_the_left=True).round()
    assert not q[:2].any()
    assert q[4].tolist() == [-127, 64]
    assert numbers_of(compiled_kernels, found, on_the_left=True).isfinite().all(dim=1).tolist() == [
        True,
        True,
        False,
        False,
        True,
    ]
    (found,) = compiled_kernels.quantize_columns(x, Layout.RIGHT)
    assert found.scales is not None
    assert not found.scales.isfinite().any()


@dtypes
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (9, 67), (40, 256)])
def test_swiglu_is_rounded_where_it_is_made(
    compiled_kernels: Kernels, rows: int, width: int, dtype: torch.dtype
) -> None:
    x, grad = numbers(rows, 2 * width, dtype=dtype), numbers(rows, width, dtype=dtype, seed=1)
    y, (found,) = compiled_kernels.swiglu_quantized(x, Layout.LEFT)
    assert torch.equal(y, SwiGLU.apply(x, compiled_kernels))  # type: ignore[no-untyped-call]
    (apart,) = compiled_kernels.quantize_rows(y, Layout.LEFT)
    assert torch.equal(*(numbers_of(compiled_kernels, each, on_the_left=True) for each in (found, apart)))
    (wide,) = gradients_of(SwiGLU, [grad.float()], x.float(), compiled_kernels)
    expected = wide.double()
    scales = expected.abs().amax(1, keepdim=True) / 127
    for found in compiled_kernels.swiglu_gradient_quantized(x, grad, Layout.LEFT, Layout.LEFT_TRANSPOSED):
        q = numbers_of(compiled_kernels, replace(found, scales=None), on_the_left=True).round()
        q = q if found.shape[0] == rows and found.scales is not None else q.T
        assert (q.abs().amax(1) == 127).all()
        assert ((q.double() * scales - expected).abs() <= 0.5001 * scales + 1e-6).all()
