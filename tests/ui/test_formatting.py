"""Numbers as people read them."""

import math

import pytest

from nima_cli.ui import formatting


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (950, "950"), (1000, "1k"), (12345, "12.3k"), (999_960, "1M"), (4_570_624, "4.6M"), (2.5e9, "2.5B")],
)
def test_count(number: float, shown: str) -> None:
    assert formatting.count(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0s"), (59.6, "1m00s"), (192, "3m12s"), (3725, "1h02m"), (200_000, "2d07h"), (math.inf, "-")],
)
def test_duration(seconds: float, shown: str) -> None:
    assert formatting.duration(seconds) == shown


@pytest.mark.parametrize(("number", "shown"), [(999, "999 bytes"), (18_400_000, "18.4 MB"), (1_500_000_000, "1.5 GB")])
def test_size(number: int, shown: str) -> None:
    assert formatting.size(number) == shown


@pytest.mark.parametrize(("number", "shown"), [(55.2, "55.20"), (1234.5, "1,234"), (5e8, "5.0e+08"), (math.inf, "inf")])
def test_ratio(number: float, shown: str) -> None:
    assert formatting.ratio(number) == shown
