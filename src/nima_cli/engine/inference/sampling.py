"""From logits to the next token: temperature and filters as small pure steps.

Axis letters: B rows · V vocabulary
"""

from dataclasses import asdict, dataclass

import torch

from nima_cli.config.diagnostics import first_refused
from nima_cli.config.sampling import SamplingConfig
from nima_cli.errors import DivergedError, InputError

_DEFAULT = SamplingConfig()


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen; defaults and ranges are those of `SamplingConfig`.

    Attributes:
        temperature: divides the logits; 0 takes the most likely token.
        top_k: keep this many most likely tokens, exactly, also among equals; 0 keeps all.
        top_p: keep the most likely tokens up to this total probability (nucleus sampling, 1904.09751).
        min_p: drop tokens less likely than this share of the most likely one (2407.01082); 0 drops none.
        repetition_penalty: divide the logits of tokens already seen, multiply if negative (1909.05858); 1 is off.
    """

    temperature: float = _DEFAULT.temperature
    top_k: int = _DEFAULT.top_k
    top_p: float = _DEFAULT.top_p
    min_p: float = _DEFAULT.min_p
    repetition_penalty: float = _DEFAULT.repetition_penalty

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: names the value and its range.
        """
        refused = first_refused(SamplingConfig, asdict(self))
        if refused is not None:
            name, expected = refused
            raise _out_of_range(name, getattr(self, name), expected)


def check_seed(seed: int) -> None:
    """Check a seed.

    Raises:
        InputError: it is negative or has more than 63 bits.
    """
    if not 0 <= seed < 2**63:
        raise _out_of_range("seed", seed, "a whole number from 0 to 2**63 - 1")


def _out_of_range(name: str, value: float, expected: str) -> InputError:
    return InputError(f"`{name}` {value} is out of range", hint=f"give {expected}")


def sample(
    logits_BV: torch.Tensor, params: SamplingParams, uniforms_B: torch.Tensor, seen_BV: torch.Tensor
) -> torch.Tensor:
    """Choose one token per row.

    Args:
        logits_BV: float32.
        uniforms_B: one number in [0, 1) per row: all the randomness, so that a row does not depend on its neighbours.
        seen_BV: bool, the tokens that the repetition penalty applies to.

    Returns:
        int64 ids `[B]`, on any device.

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
    # Below the greatest and in float64, so that the smallest temperature still divides to a number. On the CPU, for not
    # every device has that type; in two steps, for one would convert where the numbers are.
    below_BV = (sorted_BV - sorted_BV[:, :1]).cpu().double()
    probs_BV = torch.softmax(below_BV / params.temperature, dim=-1)
    before_BV = probs_BV.cumsum(dim=-1) - probs_BV
    dropped_BV = (before_BV >= params.top_p) | (probs_BV < params.min_p * probs_BV[:, :1])
    dropped_BV[:, 0] = False  # the most likely token always stays
    return ids_BV.cpu().gather(1, _draw(probs_BV.masked_fill(dropped_BV, 0.0), uniforms_B.cpu())).squeeze(1)


def _draw(weights_BV: torch.Tensor, uniforms_B: torch.Tensor) -> torch.Tensor:
    """Inverse-transform sampling: the position `[B, 1]` where the cumulative weight passes the uniform number."""
    cumulative_BV = weights_BV.cumsum(dim=-1)
    goal_B1 = uniforms_B.double().unsqueeze(1) * cumulative_BV[:, -1:]
    positions_B1 = torch.searchsorted(cumulative_BV, goal_B1, right=True)
    last_B1 = (weights_BV > 0).sum(dim=-1, keepdim=True) - 1
    return torch.minimum(positions_B1, last_B1)
