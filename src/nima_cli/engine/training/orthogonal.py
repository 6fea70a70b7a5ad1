"""Brings matrices near semi-orthogonal ones, for Muon; knows no optimizer and no model.

Axis letters: K matrices · M rows · N columns
"""

import torch

from nima_cli.engine.model.quantized import multiply
from nima_cli.engine.native.kernels import Kernels

NEWTON_SCHULZ = ((3.4445, -4.7750, 2.0315),) * 5  # quintic coefficients of the reference implementation
_INT8_ROWS = 512  # from where on integer products gain more than what goes on around them costs


def orthogonalize(matrices_KMN: torch.Tensor, dtype: torch.dtype, kernels: Kernels | None = None) -> torch.Tensor:
    """The nearest semi-orthogonal matrix to each of K matrices `[M, N]`, approximately, by five quintic steps.

    Singular values end between about 0.7 and 1.2, which the method tolerates.

    Args:
        matrices_KMN: any, none of them zero.
        dtype: to compute in.
        kernels: where these multiply 8-bit integers, products of large matrices are made so.
    """
    wide = matrices_KMN.shape[-2] <= matrices_KMN.shape[-1]
    x = matrices_KMN if wide else matrices_KMN.mT
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    if kernels is not None and kernels.int8 and kernels.fit(x) and x.shape[-2] >= _INT8_ROWS:
        x = torch.stack([_quantized_steps(x_MN.contiguous(), kernels) for x_MN in x])
    else:
        x = _steps(x)
    nearest_KMN: torch.Tensor = x if wide else x.mT
    return nearest_KMN.to(matrices_KMN.dtype)


def _steps(x: torch.Tensor) -> torch.Tensor:
    for a, b, c in NEWTON_SCHULZ:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _quantized_steps(x_MN: torch.Tensor, kernels: Kernels) -> torch.Tensor:
    """The same of one matrix.

    Of X X^T the mean r of its diagonal is taken out before it is rounded: when X is nearly orthogonal, all else is
    small beside that, and would be lost. With G = X X^T - r I, the step a X + (b X X^T + c (X X^T)^2) X is
    (a + b r + c r^2) X + ((b + 2 c r) G + c G^2) X.
    """
    gram_MM, map_MM = (x_MN.new_empty(len(x_MN), len(x_MN)) for _ in range(2))
    for a, b, c in NEWTON_SCHULZ:
        q_MN, scales_M = kernels.quantize_rows(x_MN)
        multiply(kernels, q_MN, scales_M, q_MN.T, scales_M, gram_MM)  # whose rows' scales are its columns' too
        r = float(gram_MM.diagonal().float().mean())
        gram_MM.diagonal().sub_(r)
        q_MM, scales_M = kernels.quantize_rows(gram_MM)
        multiply(kernels, q_MM, c * scales_M, q_MM.T, scales_M, map_MM, plus_NP=gram_MM, factor=b + 2 * c * r)
        by_rows, by_columns = kernels.quantize_rows(map_MM), kernels.quantize_columns(x_MN)
        next_MN = torch.empty_like(x_MN)
        x_MN = multiply(kernels, *by_rows, *by_columns, next_MN, plus_NP=x_MN, factor=a + r * (b + c * r))
    return x_MN
