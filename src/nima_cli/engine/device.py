"""Chooses the device and the compute type."""

import ctypes
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from nima_cli.errors import DeviceError
from nima_cli.events import Note

DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_INSTALL = "https://pytorch.org/get-started/locally"
_IMITATES = "has no instructions for it and imitates them, which is slower than float32"


@dataclass(frozen=True, slots=True)
class Device:
    """Where to compute, in which type, and what the user should know about that choice."""

    device: torch.device
    dtype: torch.dtype
    notes: tuple[Note, ...] = ()

    @property
    def name(self) -> str:
        """`cpu`, `mps`, or the GPU's model name."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return self.device.type

    def noting(self, level: str, message: str) -> "Device":
        """This device with one more note."""
        return replace(self, notes=(*self.notes, Note(level, message)))

    @property
    def dtype_name(self) -> str:
        """`float32`, `bfloat16` or `float16`."""
        return DTYPE_NAMES[self.dtype]

    def synchronize(self) -> None:
        """Wait for queued work, so that a clock read after it is honest."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def pick_device(wanted: str, mixed_precision: bool | Literal["bf16", "fp16", "int8"], index: int = 0) -> Device:
    """Resolve `hardware.device` and `training.use_mixed_precision`.

    Args:
        wanted: `auto`, `cpu`, `cuda` or `mps`.
        mixed_precision: True and `int8` take the fastest type (`kernels.trust` decides on int8), False float32.
        index: of the GPU.

    Raises:
        DeviceError: the device is absent, or cannot compute in the named type.
    """
    device = _find(wanted, index)
    found = Device(device, torch.float32, notes=_passed_over(device) if wanted == "auto" else ())
    if mixed_precision is False:
        return found
    on_cpu = device.type == "cpu"
    fast = cpu_type(cpu_features()) if on_cpu else _gpu_type(device)
    if mixed_precision in (True, "int8"):
        return replace(found, dtype=fast)
    dtype = torch.bfloat16 if mixed_precision == "bf16" else torch.float16
    if dtype is torch.float16 and on_cpu:
        raise DeviceError(
            "`training.use_mixed_precision: fp16` needs a GPU; this run is on the CPU", hint="use `bf16` or `true`"
        )
    found = replace(found, dtype=dtype)
    if dtype is torch.float16 or fast is torch.bfloat16 or device.type not in ("cpu", "cuda"):
        return found
    return found.noting("warning", f"bfloat16: {found.name} {_IMITATES}")


def pick_inference_device(wanted: str, dtype: str, *, batched: bool) -> Device:
    """Resolve the device and type of eval, generate and chat.

    Args:
        wanted: `auto`, `cpu`, `cuda` or `mps`.
        dtype: `float32`, `bfloat16`, or `auto`: the device's fastest type, but float32 on a CPU unless `batched`.
        batched: whether the model computes many tokens at once.

    Raises:
        DeviceError: the device is absent.
    """
    if dtype != "auto":
        return pick_device(wanted, "bf16" if dtype == "bfloat16" else False)
    device = pick_device(wanted, True)
    return replace(device, dtype=torch.float32) if device.device.type == "cpu" and not batched else device


def _find(wanted: str, index: int) -> torch.device:
    """Resolve `auto`, which does not choose MPS because it is untested, and check that the device exists."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if index >= count:
            reason, hint = (f"only {count} can be seen", "see `nvidia-smi`") if count else why_no_cuda()
            raise DeviceError(f"GPU {index} was asked for, but {reason}", hint=f"{hint}, or use `device=cpu`")
        return torch.device("cuda", index)
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("`mps` was asked for, but this machine has none", hint="use `device=auto`")
    return torch.device(wanted)


def why_no_cuda() -> tuple[str, str]:
    """Why torch sees no CUDA GPU, and what to do about it."""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"this torch, {torch.__version__}, was built without CUDA", f"install one with it, see {_INSTALL}"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return explain_no_cuda(str(error))
    return explain_no_cuda("")


def explain_no_cuda(said: str) -> tuple[str, str]:
    """Turn torch's error at CUDA's start into a reason and a hint."""
    if "driver" in said and "old" in said:
        return (
            f"the NVIDIA driver is too old for this torch: {said.splitlines()[0]}",
            f"update the driver, or install a torch for it, see {_INSTALL}",
        )
    reason = f"there is none: {said.splitlines()[0].rstrip('.')}" if said else "there is none"
    return reason, "see `nvidia-smi`, and whether CUDA_VISIBLE_DEVICES hides it"


def _passed_over(found: torch.device) -> tuple[Note, ...]:
    """Why `auto` did not choose a GPU that may be there."""
    if found.type != "cpu":
        return ()
    if torch.backends.mps.is_available():
        return (
            Note("info", "computing on the CPU: Apple's GPU is untested, and used only if `hardware.device` names it"),
        )
    if _NVIDIA_DRIVER.exists() or shutil.which("nvidia-smi") is not None:
        reason, hint = why_no_cuda()
        return (Note("warning", f"computing on the CPU, although there is a driver for NVIDIA GPUs: {reason}; {hint}"),)
    return ()


def _gpu_type(device: torch.device) -> torch.dtype:
    """The 16-bit type that a GPU has hardware for, bfloat16 if it can, or float32."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def cpu_type(features: Mapping[str, bool]) -> torch.dtype:
    """The type in which a CPU trains fastest: bfloat16 if it has instructions for it."""
    return torch.bfloat16 if features.get("amx_bf16") or features.get("avx512_bf16") else torch.float32


def cpu_features() -> Mapping[str, bool]:
    """The processor's features, by Linux's names."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        found: Mapping[str, bool] = capabilities()
        return found
    info = Path("/proc/cpuinfo")
    return dict.fromkeys(info.read_text("utf-8").split(), True) if info.exists() else {}


def keep_freed_memory(mallopt: Callable[[int, int], int] | None = None) -> None:
    """Let glibc keep freed memory for the next step, which saves a page fault per 4 kB; does nothing elsewhere.

    Args:
        mallopt: glibc's own by default; returns 0 if it refuses a value.
    """
    if mallopt is None:
        try:
            mallopt = ctypes.CDLL("libc.so.6").mallopt
        except (OSError, AttributeError):
            return
    mmap_threshold, trim_threshold, most, most_of_old = -3, -1, 2**31 - 1, 2**25
    # Older releases take at most 32 MB. Setting either ends glibc's own adaption of both, and the second alone, with
    # the first at its initial 128 kB, would make everything slower.
    if mallopt(mmap_threshold, most) or mallopt(mmap_threshold, most_of_old):
        mallopt(trim_threshold, most)
