"""Proves, before a run trusts compiled kernels, that they compute on this machine what torch does; knows no run."""

from dataclasses import replace
from pathlib import Path

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.device import Device
from nima_cli.engine.kernels.build import NoProgramError
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.training.loss import IGNORE, linear_cross_entropy
from nima_cli.errors import DeviceError

_SHAPE = ModelShape(
    vocab_size=67,
    n_layers=2,
    d_model=48,
    n_heads=4,
    n_kv_heads=2,
    d_ff=72,
    context_length=40,
    qk_norm=True,
    rope_theta=10000.0,
    tie_embeddings=True,
)
# Relative distance of gradients. Rounding makes 1e-6 and 1e-2 of it; a wrong program makes about 1.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
_INT8_TOLERANCE = 0.3  # whose rounding makes 0.12
_INT8_NEEDS = "`training.use_mixed_precision: int8` needs kernels that are compiled on this machine"


def with_trusted_kernels(device: Device, config: Config, compiled: Path | None) -> Device:
    """The device with the kernels that a run trains with, where they are wanted, can be had, and are right.

    Where they are wanted and are not used, a note of the device says why and what that costs.

    Args:
        compiled: where compiled programs are kept; None is without.

    Raises:
        DeviceError: int8 was asked for by name, and there are no kernels for it.
    """
    by_name = config.training.use_mixed_precision == "int8"
    if config.hardware.compiler != "auto" or compiled is None or not device.takes_kernels:
        if by_name:
            raise DeviceError(_INT8_NEEDS, hint="leave `hardware.compiler` at `auto` and compute on the CPU")
        return device
    try:
        found = _trusted(device, compiled)
    except NoProgramError as error:
        if by_name:
            raise DeviceError(f"{_INT8_NEEDS}: {error.message}", hint=error.hint or "use `true`") from error
        hint = f" ({error.hint})" if error.hint is not None else ""
        return device.noting("warning", f"training with torch alone, about half as fast: {error.message}{hint}")
    if by_name and not (found.kernels is not None and found.kernels.int8):
        raise DeviceError(f"{_INT8_NEEDS}, and these compute something else than torch", hint="use `true`")
    return found


def _trusted(device: Device, compiled: Path) -> Device:
    equipped = device.with_kernels(compiled)
    assert equipped.kernels is not None
    if kernels_agree(equipped.kernels, equipped.dtype):
        return equipped
    if not device.int8:
        raise NoProgramError("nima's kernels compute something else than torch on this machine")
    plain = _trusted(replace(device, int8=False), compiled)
    return plain.noting("warning", f"training in {plain.dtype_name}: products of int8 are wrong on this machine")


def kernels_agree(kernels: Kernels, dtype: torch.dtype) -> bool:
    """Whether a small model has the same loss and gradients with them as without; takes some 20 ms."""
    with torch.random.fork_rng(devices=[]):  # building a model draws
        ours, theirs = _learn(kernels, dtype), _learn(None, dtype)
    tolerance = _INT8_TOLERANCE if kernels.int8 else _TOLERANCE[dtype]
    pairs = zip(ours, theirs, strict=True)
    return all(float((one - other).norm()) <= tolerance * float(other.norm()) for one, other in pairs)


def _learn(kernels: Kernels | None, dtype: torch.dtype) -> list[torch.Tensor]:
    """The loss, and the gradient of each parameter."""
    generator = torch.Generator().manual_seed(0)
    model = GPT(_SHAPE, dropout=0.2, compute_dtype=dtype, kernels=kernels)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.3, generator=generator)
    ids_BT = torch.randint(_SHAPE.vocab_size, (2, _SHAPE.context_length), generator=generator)
    targets_N = ids_BT.roll(-1, dims=1).flatten()
    targets_N[::7] = IGNORE
    model.train()
    model.drop.seed(0, range(len(ids_BT)), ids_BT.device)
    loss = linear_cross_entropy(model.hidden(ids_BT).flatten(0, 1), model.head_weight_VC, targets_N, kernels)
    loss.backward()  # type: ignore[no-untyped-call]
    return [loss.detach(), *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]
