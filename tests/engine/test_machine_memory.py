"""What this process may have, read from the files of machines that a test makes."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from nima_cli.engine.machine_memory import available_memory, free_memory, host_memory

GB = 10**9
PLAIN = {
    "proc/meminfo": "MemTotal:       32000000 kB\nMemFree:         1000000 kB\nMemAvailable:   20000000 kB\n",
    "proc/self/status": "Name:\tpython\nVmSize:\t 2000000 kB\nVmRSS:\t  300000 kB\nVmData:\t  500000 kB\n",
    "proc/self/limits": "Limit  Soft Limit  Hard Limit  Units\nMax address space  unlimited  unlimited  bytes\n",
    "proc/self/cgroup": "0::/\n",
}
FREE = (20_000_000 + 300_000) * 1024  # with what the process has already


def machine(folder: Path, **files: str) -> Path:
    """A root with the plain machine's files and others; their names have `/` written as `__`."""
    named: Mapping[str, str] = {**PLAIN, **{name.replace("__", "/"): text for name, text in files.items()}}
    for name, text in named.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_without_limits_it_is_what_is_free(tmp_path: Path) -> None:
    assert host_memory(machine(tmp_path)) == FREE
    assert free_memory(machine(tmp_path)) == 20_000_000 * 1024


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Max address space         4000000000  unlimited  bytes", 4 * GB - 1_700_000 * 1024),
        ("Max data size             4000000000  unlimited  bytes", 4 * GB - 200_000 * 1024),
        ("Max address space         1000000000  unlimited  bytes", 0),
        ("Max address space         unlimited   unlimited  bytes", FREE),
    ],
)
def test_ulimit_counts_what_the_process_has_mapped(line: str, expected: int, tmp_path: Path) -> None:
    assert host_memory(machine(tmp_path, proc__self__limits=f"Max cpu time unlimited\n{line}\n")) == expected


def test_the_tightest_control_group_above_the_process_counts(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        **{
            "proc__self__cgroup": "0::/user/job/step\n",
            "sys__fs__cgroup__user__job__step__memory.max": "max\n",
            "sys__fs__cgroup__user__job__step__memory.current": "400000000\n",
            "sys__fs__cgroup__user__job__memory.max": "2000000000\n",
            "sys__fs__cgroup__user__job__memory.current": "900000000\n",
            "sys__fs__cgroup__user__job__memory.stat": "anon 5\ninactive_file 100000000\n",
            "sys__fs__cgroup__user__memory.max": "8000000000\n",
            "sys__fs__cgroup__user__memory.current": "900000000\n",
        },
    )
    assert host_memory(root) == 1_200_000_000 + 300_000 * 1024


def test_a_group_that_is_slowed_down_has_reached_its_limit(tmp_path: Path) -> None:
    files = {
        "proc__self__cgroup": "0::/job\n",
        "sys__fs__cgroup__job__memory.max": "max\n",
        "sys__fs__cgroup__job__memory.high": "3000000000\n",
        "sys__fs__cgroup__job__memory.current": "1000000000\n",
    }
    assert host_memory(machine(tmp_path, **files)) == 2 * GB + 300_000 * 1024


def test_a_container_sees_its_own_group_at_the_mount(tmp_path: Path) -> None:
    """Its path is the host's, and there is nothing of that name."""
    files = {
        "proc__self__cgroup": "12:pids:/docker/0ab\n4:memory:/docker/0ab\n0::/docker/0ab\n",
        "sys__fs__cgroup__memory__memory.limit_in_bytes": "2000000000\n",
        "sys__fs__cgroup__memory__memory.usage_in_bytes": "500000000\n",
        "sys__fs__cgroup__memory__memory.stat": "inactive_file 1\ntotal_inactive_file 50000000\n",
    }
    assert host_memory(machine(tmp_path, **files)) == 1_550_000_000 + 300_000 * 1024


def test_a_group_without_a_limit_takes_nothing_away(tmp_path: Path) -> None:
    files = {
        "proc__self__cgroup": "4:memory:/\n",
        "sys__fs__cgroup__memory__memory.limit_in_bytes": "9223372036854771712\n",
        "sys__fs__cgroup__memory__memory.usage_in_bytes": "500000000\n",
    }
    assert host_memory(machine(tmp_path, **files)) == FREE


def test_a_machine_that_says_nothing_has_what_is_built_into_it(tmp_path: Path) -> None:
    found = host_memory(tmp_path)
    assert found is None or found > GB // 4


def test_this_machine_answers() -> None:
    found = available_memory(torch.device("cpu"))
    assert found is None or found > 0
