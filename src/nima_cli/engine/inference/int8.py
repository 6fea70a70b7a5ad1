"""Weights in 8 bit: each row of a matrix as whole numbers from -127 to 127 and one factor (2208.07339, section 2.1)."""

from dataclasses import dataclass

import torch

from nima_cli.engine.model.gpt import GPT


@dataclass(frozen=True, slots=True)
class Int8Rows:
    """A matrix `[rows, columns]`: `values` int8, `scales` float32 `[rows]`."""

    values: torch.Tensor
    scales: torch.Tensor


@torch.no_grad()
def quantize_(model: GPT) -> dict[str, Int8Rows]:
    """Round every matrix of a model to what 8 bits can say, in place; returns those bits by parameter name.

    The model then computes what a program computes that reads the bytes, up to the rounding of its own type. So what
    the loss of precision costs can be measured with the model itself. Gains of norms stay as they are.
    """
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            exact = parameter.float()
            scales = exact.abs().amax(dim=1) / 127
            values = (exact / scales.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)).round().to(torch.int8)
            parameter.copy_(values.float() * scales.unsqueeze(1))
            found[name] = Int8Rows(values.contiguous(), scales.contiguous())
    return found
