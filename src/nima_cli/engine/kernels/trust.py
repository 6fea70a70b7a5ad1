"""Decides before a run whether it trains with compiled kernels, which must compute what torch does."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.device import Device, cpu_features
from nima_cli.engine.kernels.build import KERNELS, NoProgramError
from nima_cli.engine.kernels.convert import convert
from nima_cli.engine.kernels.kernels import Kernels, load_kernels
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import DeviceError
from nima_cli.events import Note

# The summed cross-entropy of hidden states, output matrix and targets, with kernels or without.
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Kernels | None], torch.Tensor]

_SHAPE = ModelShape(
    vocab_size=67, n_layers=2, d_model=48, n_heads=4, n_kv_heads=2, head_dim=12, d_ff=72, context_length=40,
    qk_norm=True, rope_theta=10000.0, tie_embeddings=True,
)  # fmt: skip
_NO_TARGET = -100
# Relative distance of gradients. Rounding makes 1e-6 and 1e-2; a wrong program makes about 1.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
_INT8_TOLERANCE = 0.3  # rounding makes 0.12
_INT8_NEEDS = "`training.use_mixed_precision: int8` needs"
_KERNELS_NEEDED = f"{_INT8_NEEDS} kernels that are compiled on this machine"


class Trusted(NamedTuple):
    """The kernels that a run trains with, if any, and why they are not those that were wanted."""

    kernels: Kernels | None = None
    notes: tuple[Note, ...] = ()


def trusted_kernels(
    device: Device, config: Config, compiled: Path | None, loss: Loss, *, features: Mapping[str, bool] | None = None
) -> Trusted:
    """Load the kernels for a run, if it wants them and they compute what torch does.

    Args:
        compiled: the folder of compiled programs; None trains without kernels.
        loss: what the run minimises.
        features: of the processor; by default this one's.

    Raises:
        DeviceError: the configuration names int8, and there are no kernels for it.
    """
    wanted, on_cpu = config.training.use_mixed_precision, device.device.type == "cpu"
    features = (cpu_features() if features is None else features) if on_cpu else {}
    by_name = wanted == "int8"
    if by_name and config.training.lora.enabled:
        raise DeviceError(f"{_INT8_NEEDS} weights that are trained, not adapters beside them", hint="use `true`")
    if by_name and not multiplies_int8(features):
        raise DeviceError(f"{_INT8_NEEDS} a processor with AVX512-VNNI or AMX", hint="use `true`")
    have_some = KERNELS.fits_platform and Kernels.supports(device.device, device.dtype)
    if config.hardware.compiler != "auto" or compiled is None or not have_some:
        if by_name:
            raise DeviceError(_KERNELS_NEEDED, hint="leave `hardware.compiler` at `auto` and compute on the CPU")
        return Trusted()
    try:
        found = _trusted(
            compiled,
            device,
            loss,
            int8=by_name or (wanted is True and config.model.pretrained is None and gains_from_int8(features)),
        )
    except NoProgramError as error:
        if by_name:
            raise DeviceError(f"{_KERNELS_NEEDED}: {error.message}", hint=error.hint or "use `true`") from error
        hint = f" ({error.hint})" if error.hint is not None else ""
        told = f"training with torch alone, about half as fast: {error.message}{hint}"
        return Trusted(None, (Note("warning", told),))
    if by_name and not (found.kernels is not None and found.kernels.int8):
        raise DeviceError(f"{_KERNELS_NEEDED}, and these compute something else than torch", hint="use `true`")
    return found


def _trusted(compiled: Path, device: Device, loss: Loss, *, int8: bool) -> Trusted:
    kernels = load_kernels(compiled, int8=int8)
    if kernels_agree(kernels, device.dtype, loss):
        return Trusted(kernels)
    if not int8:
        raise NoProgramError("nima's kernels compute something else than torch on this machine")
    plain = _trusted(compiled, device, loss, int8=False)
    told = f"training in {device.dtype_name}, about a third slower: products of int8 are wrong on this machine"
    return plain._replace(notes=(Note("warning", told),))


def multiplies_int8(features: Mapping[str, bool]) -> bool:
    """Whether a processor has instructions for products of 8-bit integers."""
    return bool(features.get("amx_int8") or features.get("avx512_vnni"))


def gains_from_int8(features: Mapping[str, bool]) -> bool:
    """Whether training is faster with int8, as measured: AMX multiplies bfloat16 so fast that rounding costs more."""
    return multiplies_int8(features) and not any(features[name] for name in features if name.startswith("amx"))


def precision(dtype_name: str, kernels: Kernels | None) -> str:
    """The compute type for the user, with int8 if matrices are multiplied in it."""
    return f"{dtype_name} and int8" if kernels is not None and kernels.int8 else dtype_name


def kernels_agree(kernels: Kernels, dtype: torch.dtype, loss: Loss) -> bool:
    """Whether a small model has the same loss and gradients with the kernels as without; takes some 20 ms."""
    with torch.random.fork_rng(devices=[]):  # building a model draws random numbers
        ours, theirs = _learn(kernels, dtype, loss), _learn(None, dtype, loss)
    tolerance = _INT8_TOLERANCE if kernels.int8 else _TOLERANCE[dtype]
    pairs = zip(ours, theirs, strict=True)
    return all(float((one - other).norm()) <= tolerance * float(other.norm()) for one, other in pairs)


def _learn(kernels: Kernels | None, dtype: torch.dtype, loss: Loss) -> list[torch.Tensor]:
    """The loss, and the gradient of each parameter."""
    generator = torch.Generator().manual_seed(0)
    model = GPT(_SHAPE, dropout=0.2, compute_dtype=dtype)
    convert(model, kernels)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.3, generator=generator)
    ids_BT = torch.randint(_SHAPE.vocab_size, (2, _SHAPE.context_length), generator=generator)
    targets_N = ids_BT.roll(-1, dims=1).flatten()
    targets_N[::7] = _NO_TARGET
    model.train()
    model.drop.seed(0, range(len(ids_BT)), ids_BT.device)
    total = loss(model.hidden(ids_BT).flatten(0, 1), model.head_weight_VC, targets_N, kernels)
    total.backward()  # type: ignore[no-untyped-call]
    return [total.detach(), *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]
