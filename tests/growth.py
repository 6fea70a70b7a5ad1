"""How work grows with its size: for tests that something is not quadratic. No test asserts how long a thing takes."""

import time
from collections.abc import Callable

_TRIES = 8
_SLACK = 4  # times the linear growth; quadratic growth over a factor of 16 is 16 times the linear one


def assert_near_linear(work: Callable[[int], object], small: int, large: int) -> None:
    """`work(large)` costs about as many times `work(small)` as it is larger, in processor time.

    Other programs on the machine can make either look dear, so one try out of several is enough; what is quadratic
    passes none.
    """
    assert large >= 8 * small, "too little growth to tell linear from quadratic"
    grown = []
    for _ in range(_TRIES):
        less, more = _seconds(work, small), _seconds(work, large)
        grown.append(more / max(less, 1e-3) / (large / small))
        if grown[-1] < _SLACK:
            return
    raise AssertionError(f"growth, as multiples of the linear: {[round(times, 1) for times in grown]}")


def _seconds(work: Callable[[int], object], size: int) -> float:
    began = time.process_time()
    work(size)
    return time.process_time() - began
