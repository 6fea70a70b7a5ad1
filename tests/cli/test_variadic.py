"""One flag, many values."""

import pytest

from nima_cli.cli.app import expand_variadic_options


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("--prompt a b", "--prompt a --prompt b"),
        ("--prompt a b --seed 3 c", "--prompt a --prompt b --seed 3 c"),
        ("--text-files a b --json-files c d", "--text-files a --text-files b --json-files c --json-files d"),
        ("--prompt=a b", "--prompt=a --prompt b"),
        ("--prompt - b", "--prompt - --prompt b"),
        ("--prompt=-x y", "--prompt=-x --prompt y"),
        ("plot run --metric loss perplexity", "plot run --metric loss --metric perplexity"),
        ("--set a=1 b", "--set a=1 b"),
        ("--prompt a -- b c", "--prompt a -- b c"),
        ("a b c", "a b c"),
        ("", ""),
    ],
)  # fmt: skip
def test_further_values_get_the_flag_again(typed: str, read: str) -> None:
    assert expand_variadic_options(typed.split()) == read.split()


def test_values_stay_what_they_are() -> None:
    assert expand_variadic_options(["--prompt", "a b", "", "[x]", "--seed", "1"]) == [
        "--prompt", "a b", "--prompt", "", "--prompt", "[x]", "--seed", "1",
    ]  # fmt: skip
