"""How much memory this process could have, asked of the machine: never more than what any limit leaves it.

What Linux says is read from its own files under `root`, so that a test can be any machine.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

_V1_LIMITS = ("memory.limit_in_bytes",)
_V2_LIMITS = ("memory.max", "memory.high")


def available_memory(device: torch.device, *, processes: int = 1, root: Path = Path("/")) -> int | None:
    """Bytes that this process could hold where it computes, with those that it holds already; None if unknown.

    Args:
        processes: that compute on this machine; they share its own memory, and each has a GPU to itself.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device)
    host = host_memory(root)
    if device.type != "mps":
        return host // processes if host is not None else None
    gpu = int(torch.mps.recommended_max_memory())  # of the same memory
    return gpu if host is None else min(gpu, host)


def host_memory(root: Path = Path("/")) -> int | None:
    """The same in the machine's own memory: what is free, within the limits of control groups and of `ulimit`."""
    own = _own(root)
    free = [_kilobytes(root / "proc/meminfo").get("MemAvailable"), *_group_room(root)]
    found = [room + own.get("VmRSS", 0) for room in free if room is not None]
    for limit, used in (("Max address space", "VmSize"), ("Max data size", "VmData")):
        most = _limit(root, limit)
        if most is not None:
            found.append(most - own.get(used, 0) + own.get("VmRSS", 0))
    return max(0, min(found)) if found else _physical()


def _own(root: Path) -> dict[str, int]:
    return _kilobytes(root / "proc/self/status")


def _kilobytes(path: Path) -> dict[str, int]:
    """The lines `Name: 123 kB` of a file, in bytes."""
    found = {}
    for line in _text(path).splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            found[name] = 1024 * int(words[0])
    return found


def _limit(root: Path, name: str) -> int | None:
    """The soft limit of that name; None where there is none."""
    for line in _text(root / "proc/self/limits").splitlines():
        if line.startswith(name):
            return _number(line[len(name) :].split()[0])
    return None


def _group_room(root: Path) -> Iterator[int]:
    """What each control group around this process leaves it; the groups of both versions, and all their parents."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield from _room_up(root / "sys/fs/cgroup/memory", path, _V1_LIMITS, "memory.usage_in_bytes")
        elif not controllers:
            yield from _room_up(root / "sys/fs/cgroup", path, _V2_LIMITS, "memory.current")


def _room_up(mount: Path, path: str, limits: tuple[str, ...], usage: str) -> Iterator[int]:
    """From the group itself up to the mount; in a container the path may be the host's, and only the mount be there."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for depth in range(len(parts), -1, -1):
        folder = mount.joinpath(*parts[:depth])
        used = _number(_text(folder / usage))
        for name in limits:
            most = _number(_text(folder / name))
            if most is not None and used is not None:
                yield most - used + _reclaimable(folder)


def _reclaimable(folder: Path) -> int:
    """File contents that a group is charged for, and that are dropped when memory is short."""
    found = {}
    for line in _text(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        found[name] = _number(value) or 0
    return found.get("total_inactive_file", found.get("inactive_file", 0))


def _number(text: str) -> int | None:
    """A count of bytes; None for `max`, `unlimited` and nothing."""
    text = text.strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _physical() -> int | None:
    """All memory of a machine that does not say how much of it is free."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        return pages * size if pages > 0 and size > 0 else None
    return None
