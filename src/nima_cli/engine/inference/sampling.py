"""Chooses the next token from logits.

Axis letters: B rows · V vocabulary
"""

import torch

from nima_cli.config.diagnostics import first_refused
from nima_cli.config.schema import SamplingConfig
from nima_cli.errors import DivergedError, InputError


class SamplingParams(SamplingConfig):
    """How the next token is chosen.

    Attributes:
        temperature: divides the logits; 0 takes the most likely token.
        top_k: keep this many most likely tokens, exactly, also among equals; 0 keeps all.
        top_p: keep the most likely tokens up to this total probability (nucleus sampling, 1904.09751).
        min_p: drop tokens less likely than this share of the most likely one (2407.01082); 0 drops none.
        repetition_penalty: divide the logits of tokens already seen, multiply if negative (1909.05858); 1 is off.
    """

    def __init__(self, **values: float) -> None:
        """Take the given settings and the defaults of the others; InputError names what is out of range."""
        refused = first_refused(SamplingConfig, values)
        if refused is not None:
            raise _out_of_range(refused[0], values[refused[0]], refused[1])
        super().__init__(**values)


def check_seed(seed: int) -> None:
    """Raise InputError unless a seed has at most 63 bits."""
    if not 0 <= seed < 2**63:
        raise _out_of_range("seed", seed, "a whole number from 0 to 2**63 - 1")


def _out_of_range(name: str, value: float, expected: str) -> InputError:
    return InputError(f"`{name}` {value} is out of range", hint=f"give {expected}")


def sample(
    logits_BV: torch.Tensor, params: SamplingParams, uniforms_B: torch.Tensor, seen_BV: torch.Tensor
) -> torch.Tensor:
    """Choose one token for each row; returns int64 ids `[B]`, on any device.

    Args:
        logits_BV: float32.
        uniforms_B: a number in [0, 1) for each row: all its randomness.
        seen_BV: bool, the tokens that the repetition penalty applies to.

    Raises:
        DivergedError: the logits are not finite.
    """
    if not bool(torch.isfinite(logits_BV).all()):
        raise DivergedError("the model's predictions are not finite numbers", hint="use an earlier checkpoint")
    if params.repetition_penalty != 1.0:
        penalty = params.repetition_penalty
        penalised = torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
        logits_BV = torch.where(seen_BV, penalised, logits_BV)
    if params.temperature == 0.0:
        return logits_BV.argmax(dim=-1)
    # Stable, so that equals keep the order of their ids and `top_k` cuts at exactly k.
    sorted_BV, ids_BV = torch.sort(logits_BV, dim=-1, descending=True, stable=True)
    if 0 < params.top_k < sorted_BV.shape[-1]:
        sorted_BV, ids_BV = sorted_BV[:, : params.top_k], ids_BV[:, : params.top_k]
    # Below the greatest and in float64, so that the smallest temperature still divides to a finite number. First to the
    # CPU and then converted, because not every device has that type.
    below_BV = (sorted_BV - sorted_BV[:, :1]).cpu().double()
    probs_BV = torch.softmax(below_BV / params.temperature, dim=-1)
    before_BV = probs_BV.cumsum(dim=-1) - probs_BV
    dropped_BV = (before_BV >= params.top_p) | (probs_BV < params.min_p * probs_BV[:, :1])
    dropped_BV[:, 0] = False  # the most likely token always stays
    return ids_BV.cpu().gather(1, _draw(probs_BV.masked_fill(dropped_BV, 0.0), uniforms_B.cpu())).squeeze(1)


def _draw(weights_BV: torch.Tensor, uniforms_B: torch.Tensor) -> torch.Tensor:
    """Inverse transform sampling of a position `[B, 1]`."""
    cumulative_BV = weights_BV.cumsum(dim=-1)
    goal_B1 = uniforms_B.double().unsqueeze(1) * cumulative_BV[:, -1:]
    positions_B1 = torch.searchsorted(cumulative_BV, goal_B1, right=True)
    last_B1 = (weights_BV > 0).sum(dim=-1, keepdim=True) - 1
    return torch.minimum(positions_B1, last_B1)
