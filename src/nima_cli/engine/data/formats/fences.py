"""Code in a fence that is longer than any inside of it."""

import re

_TICKS = re.compile(r"`{3,}")


def fence(code: str, language: str) -> str:
    """`code`, which neither begins nor ends with a line end, between marks."""
    ticks = "`" * max([3, *(len(run) + 1 for run in _TICKS.findall(code))])
    return f"{ticks}{language}\n{code}\n{ticks}"
