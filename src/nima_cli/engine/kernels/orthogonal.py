"""Approximate orthogonalisation of matrices, for Muon.

Axis letters: K matrices · M rows · N columns
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat

import torch

from nima_cli.engine.kernels.integers import Layout
from nima_cli.engine.kernels.kernels import Kernels

NEWTON_SCHULZ = ((3.4445, -4.7750, 2.0315),) * 5  # quintic coefficients of the reference implementation
_INT8_ROWS = 512  # below, rounding costs more than integer products gain


def orthogonalize(matrices_KMN: torch.Tensor, dtype: torch.dtype, kernels: Kernels | None = None) -> torch.Tensor:
    """Approximate the semi-orthogonal matrix nearest to each matrix by five quintic Newton-Schulz steps in `dtype`.

    Singular values end between about 0.7 and 1.2. Kernels for int8 multiply large matrices as integers.
    """
    x_KMN: torch.Tensor = (matrices_KMN / (matrices_KMN.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    if (
        kernels is not None
        and kernels.int8
        and kernels.supports(x_KMN.device, dtype)
        and min(x_KMN.shape[-2:]) >= _INT8_ROWS
    ):
        _quantized_steps_of_all_(x_KMN, kernels)
        return x_KMN.to(matrices_KMN.dtype)
    wide = x_KMN.shape[-2] <= x_KMN.shape[-1]
    found = _steps(x_KMN if wide else x_KMN.mT)
    return (found if wide else found.mT).to(matrices_KMN.dtype)


def _steps(x: torch.Tensor) -> torch.Tensor:
    for a, b, c in NEWTON_SCHULZ:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _quantized_steps_of_all_(x_KMN: torch.Tensor, kernels: Kernels) -> None:
    """One matrix for each thread: it stays in its core's caches, and threads do not wait for each other."""
    if len(x_KMN) >= kernels.threads:
        with ThreadPoolExecutor(kernels.threads) as pool:
            list(pool.map(_quantized_steps_, x_KMN, repeat(kernels.alone())))
    else:
        for x_MN in x_KMN:
            _quantized_steps_(x_MN, kernels)


def _quantized_steps_(x_MN: torch.Tensor, kernels: Kernels) -> None:
    """The steps of one matrix, wide or tall; with P its smaller size, G is X X^T or X^T X, `[P, P]`.

    Before G is rounded, the mean r of its diagonal is subtracted: for a nearly orthogonal X all else is small beside it
    and would be lost. With H = G - r I, the step a X + (b G + c G^2) X is
    (a + b r + c r^2) X + ((b + 2 c r) H + c H^2) X.
    """
    by_rows, by_columns = kernels.quantize_rows, kernels.quantize_columns
    wide = x_MN.shape[0] <= x_MN.shape[1]
    gram_PP, map_PP = (x_MN.new_empty(min(x_MN.shape), min(x_MN.shape)) for _ in range(2))
    for a, b, c in NEWTON_SCHULZ:
        if wide:
            left, right = by_rows(x_MN, Layout.LEFT, Layout.RIGHT_TRANSPOSED)
        else:
            left, right = by_columns(x_MN, Layout.LEFT_TRANSPOSED, Layout.RIGHT)
        kernels.multiply(left, right, gram_PP, symmetric=True)
        r = float(gram_PP.diagonal().float().mean())
        gram_PP.diagonal().sub_(r)
        left, right = by_rows(gram_PP, Layout.LEFT, Layout.RIGHT_TRANSPOSED)  # of a symmetric matrix, that is itself
        assert left.scales is not None
        left = replace(left, scales=c * left.scales)
        kernels.multiply(left, right, map_PP, plus_NP=gram_PP, factor=b + 2 * c * r, symmetric=True)
        if wide:
            left, right = by_rows(map_PP, Layout.LEFT) + by_columns(x_MN, Layout.RIGHT)
        else:
            left, right = by_rows(x_MN, Layout.LEFT) + by_rows(map_PP, Layout.RIGHT_TRANSPOSED)
        kernels.multiply(left, right, x_MN, plus_NP=x_MN, factor=a + r * (b + c * r))
