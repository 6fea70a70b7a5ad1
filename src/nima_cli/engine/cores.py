"""The number of cores; does not import torch."""

import os


def cpu_count() -> int:
    """Cores that this process may use; in a container this can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
