"""Numbers as people read them."""

import math


def count(number: float) -> str:
    """`4570624` -> `4.6M`, `2000` -> `2k`, `950` -> `950`."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size * 0.99995:
            return f"{number / size:.1f}".removesuffix(".0") + letter
    return f"{number:.1f}".removesuffix(".0")


def many(number: int, what: str) -> str:
    """`1 document`, `12,345 documents`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def duration(seconds: float) -> str:
    """`3.2` -> `3s`, `192` -> `3m12s`, `3725` -> `1h02m`, `200000` -> `2d07h`."""
    if not math.isfinite(seconds):
        return "-"
    whole = max(0, round(seconds))
    for unit, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            return f"{whole // unit}{name}{whole % unit // smaller:02d}{smaller_name}"
    return f"{whole}s"


def size(number: int) -> str:
    """Bytes in powers of ten: `18400000` -> `18.4 MB`."""
    for unit, letter in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit * 0.99995:
            return f"{number / unit:.1f} {letter}"
    return f"{number} bytes"


def loss(nats: float) -> str:
    """A loss in nats per token; a dash for NaN."""
    return "-" if math.isnan(nats) else f"{nats:.3f}"


def ratio(number: float) -> str:
    """A perplexity: four digits at most, then thousands."""
    if not math.isfinite(number):
        return f"{number}"
    return f"{number:.2f}" if number < 100 else f"{number:,.0f}" if number < 1e6 else f"{number:.1e}"


def rate(number: float) -> str:
    """A learning rate: `0.006` -> `6.0e-03`."""
    return f"{number:.1e}"
