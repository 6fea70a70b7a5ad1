"""Says when a number format was asked for that the device only imitates; knows no model."""

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.device import Device, pick_device


def emulation_notes(device: Device, config: Config) -> tuple[str, ...]:
    """One line where bfloat16 was named and the processor has no instructions for it, else none."""
    kind = device.device.type
    if config.training.use_mixed_precision != "bf16" or kind not in ("cpu", "cuda"):
        return ()
    if pick_device(kind, True, device.device.index or 0).dtype is torch.bfloat16:
        return ()
    return (
        f"`training.use_mixed_precision: bf16`: {device.name} has no instructions for it and imitates them, which is "
        "slower than float32; `true` takes what it is fast in",
    )
