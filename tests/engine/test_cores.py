"""There is always a core to compute on, and no more than this process may use."""

import os
import subprocess
import sys

import pytest

from nima_cli.engine.cores import cpu_count


def test_at_least_one_core() -> None:
    assert 1 <= cpu_count() <= 4096


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot bind a process to cores")
def test_only_those_that_the_process_may_use() -> None:
    code = """import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from nima_cli.engine.cores import cpu_count
print(cpu_count())"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"1\n"
