"""How much memory this process may use: what is free, within the limits of control groups and `ulimit`."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch

# By control group version: the folder under /sys/fs/cgroup, its limits, its usage, and the file pages that Linux drops
# when memory is short.
_V1 = ("memory", ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("", ("memory.max", "memory.high"), "memory.current", "inactive_file")


def available_memory(device: torch.device, *, processes: int = 1, root: Path = Path("/")) -> int | None:
    """Bytes that each of `processes` here may hold on its device, with those it holds already; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device)
    host = host_memory(root)
    if device.type != "mps":
        return host // processes if host is not None else None
    gpu = int(torch.mps.recommended_max_memory())  # of the same memory
    return gpu if host is None else min(gpu, host)


def host_memory(root: Path = Path("/")) -> int | None:
    """Bytes of main memory that this process may hold; `root` is where `/proc` and `/sys` are."""
    status, limits = _text(root / "proc/self/status"), _text(root / "proc/self/limits")
    resident = _number(status, "VmRSS") or 0
    available = _number(_text(root / "proc/meminfo"), "MemAvailable")
    found = [room + resident for room in (available, *_group_room(root)) if room is not None]
    for name, used in (("Max address space", "VmSize"), ("Max data size", "VmData")):
        if (limit := _number(limits, name)) is not None:
            found.append(limit - (_number(status, used) or 0) + resident)
    if found:
        return max(0, min(found))
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not Linux: all memory there is
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        return pages * size if pages > 0 and size > 0 else None
    return None


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes of main memory that this process may take beside those that it holds already; None if unknown."""
    host = host_memory(root)
    if host is None:
        return None
    return max(0, host - (_number(_text(root / "proc/self/status"), "VmRSS") or 0))


def _group_room(root: Path) -> Iterator[int]:
    """What each memory control group of this process, and each of their parents, leaves it.

    In a container the path may be the host's, and only the mount be there.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folder, limits, usage, droppable = _V1 if controllers else _V2
        mount = root / "sys/fs/cgroup" / folder
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            group = mount.joinpath(*parts[:depth])
            used = _number(_text(group / usage))
            for limit in (_number(_text(group / name)) for name in limits):
                if limit is not None and used is not None:
                    yield limit - used + (_number(_text(group / "memory.stat"), droppable) or 0)


def _number(text: str, name: str = "") -> int | None:
    """The bytes on the line that begins with `name`; None for `max`, `unlimited` and no such line."""
    found = re.search(rf"^{name}:?[ \t]*(\d+)( kB)?\b", text, re.MULTILINE)
    return int(found[1]) * (1024 if found[2] else 1) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
