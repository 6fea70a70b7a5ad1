"""Picks the processor and the number format by asking the machine; knows no model and no config file."""

import ctypes
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from nima_cli.engine.native.kernels import Kernels, load_kernels
from nima_cli.errors import DeviceError

DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


@dataclass(frozen=True, slots=True)
class Device:
    """Where to compute, in which type and with what; master weights stay float32 whatever `dtype` is.

    Attributes:
        kernels: compiled for training on this processor; None is torch alone.
        int8: whether kernels should multiply 8-bit integers.
    """

    device: torch.device
    dtype: torch.dtype
    kernels: Kernels | None = None
    int8: bool = False

    @property
    def name(self) -> str:
        """What to tell the user: `cpu`, or the GPU's own name."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return self.device.type

    def with_kernels(self, folder: Path | None) -> "Device":
        """The same with training's kernels from a folder of compiled programs, where they are for this device."""
        fits = Kernels.fit(torch.empty(0, device=self.device, dtype=self.dtype))
        return replace(self, kernels=load_kernels(folder, int8=self.int8)) if fits else self

    @property
    def dtype_name(self) -> str:
        """`float32`, `bfloat16` or `float16`."""
        return DTYPE_NAMES[self.dtype]

    @property
    def precision(self) -> str:
        """What to tell the user: the type, and whether matrices are multiplied in another one."""
        return f"{self.dtype_name} and int8" if self.kernels is not None and self.kernels.int8 else self.dtype_name

    def synchronize(self) -> None:
        """Wait for queued work, so that a clock read after it is honest."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def pick_device(wanted: str, mixed_precision: bool | Literal["bf16", "fp16", "int8"], index: int = 0) -> Device:
    """Turn `hardware.device` and `training.use_mixed_precision` into a device and a compute type.

    Args:
        wanted: `auto`, `cpu`, `cuda` or `mps`.
        mixed_precision: True takes what the device is fast in: a 16-bit type, and kernels that multiply 8-bit integers.
            False takes float32.
        index: which GPU.

    Raises:
        DeviceError: the device is absent, or cannot compute in the named type.
    """
    device = _find(wanted, index)
    if mixed_precision is False:
        return Device(device, torch.float32)
    if mixed_precision is True:
        return Device(device, _fast_dtype(device), int8=_has_int8(device))
    if mixed_precision == "int8":
        if not _has_int8(device):
            raise DeviceError(
                "`training.use_mixed_precision: int8` needs a processor with AVX512-VNNI or AMX", hint="use `true`"
            )
        return Device(device, _fast_dtype(device), int8=True)
    dtype = torch.bfloat16 if mixed_precision == "bf16" else torch.float16
    if dtype is torch.float16 and device.type == "cpu":
        raise DeviceError(
            "`training.use_mixed_precision: fp16` needs a GPU; this run is on the CPU", hint="use `bf16` or `true`"
        )
    return Device(device, dtype)


def pick_inference_device(wanted: str, dtype: str, *, batched: bool) -> Device:
    """Turn `--device` and `--dtype` of eval, generate and chat into a device and a type.

    Args:
        wanted: `auto`, `cpu`, `cuda` or `mps`.
        dtype: `float32`, `bfloat16`, or `auto`: the type the device multiplies large matrices fastest in. A CPU that
            decodes one token at a time multiplies none, and keeps float32.
        batched: whether many tokens go through the model at once.

    Raises:
        DeviceError: the device is absent.
    """
    if dtype != "auto":
        return pick_device(wanted, "bf16" if dtype == "bfloat16" else False)
    device = replace(pick_device(wanted, True), int8=False)
    alone_on_cpu = device.device.type == "cpu" and not batched
    return Device(device.device, torch.float32) if alone_on_cpu else device


def _find(wanted: str, index: int) -> torch.device:
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if index >= count:
            raise DeviceError(
                f"GPU {index} was asked for, but {'there is none' if not count else f'only {count} can be seen'}",
                hint="see `nvidia-smi`, or use `--device cpu`",
            )
        return torch.device("cuda", index)
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("`mps` was asked for, but this machine has none", hint="use `--device auto`")
    return torch.device(wanted)


def _fast_dtype(device: torch.device) -> torch.dtype:
    """The 16-bit type with hardware support (bfloat16 before float16), or float32 where there is none."""
    if device.type == "cuda":
        native_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if native_bf16 else torch.float16
    if device.type == "cpu" and _cpu_has_bf16():
        return torch.bfloat16
    return torch.float32


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 matrices in hardware; else it would be slower."""
    return _cpu_has("amx_bf16", "avx512_bf16")


def _has_int8(device: torch.device) -> bool:
    """Whether it multiplies matrices of 8-bit integers in hardware, and torch has a function for it."""
    return device.type == "cpu" and hasattr(torch, "_int_mm") and _cpu_has("amx_int8", "avx512_vnni")


def _cpu_has(*features: str) -> bool:
    """Whether the processor has one of them."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        found = capabilities()
        return any(found.get(feature) for feature in features)
    info = Path("/proc/cpuinfo")
    flags = info.read_text("utf-8").split() if info.exists() else []
    return any(feature in flags for feature in features)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step instead of giving it back to the system each time.

    Activations of a step are freed and allocated again in the next; returning them costs a page fault per 4 kB. Acts on
    glibc only, and does nothing elsewhere.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mmap_threshold, trim_threshold, most = -3, -1, 2**31 - 1
    mallopt(mmap_threshold, most)
    mallopt(trim_threshold, most)
