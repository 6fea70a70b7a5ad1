"""How many cores there are to compute on; imports nothing, so that preparing data needs no torch to ask."""

import os


def cpu_count() -> int:
    """Cores this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
