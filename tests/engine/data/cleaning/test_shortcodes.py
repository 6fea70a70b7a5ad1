"""Lines with three and more colons leave their titles, in every dialect; other lines are none."""

import pytest

from nima_cli.engine.data.cleaning.shortcodes import plain_directive
from tests.growth import assert_near_linear


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (":::", ""),
        ("  ::::::  ", ""),
        (":::note", ""),
        ("::: NOTE", ""),
        (":::note Mind: this", "Mind: this"),
        (":::note Title:", "Title:"),
        ('::: tip Set x="1" first', 'Set x="1" first'),
        ("::: details Click me {open}", "Click me"),
        (":::tip[Use `x[0]`, or [y](z)]{.a}", "Use `x[0]`, or [y](z)"),
        (':::warning{title="Hot"}', "Hot"),
        (":::{tip}", ""),
        ("::::{note} A title", "A title"),
        (":::{figure} a/b.png", ""),
        (":::{code-block} python", ""),
        ("::: {.class #id}", ""),
        ('::: {.class title="Said"}', "Said"),
        ("::::: {#special .sidebar} :::::", ""),
        ("::: Warning ::::::", ""),
        (':::image type="content" source="media/pump.png" alt-text="The pump.":::', "The pump."),
        (':::code language="csharp" source="a.cs" range="2-5":::', ""),
        ('::: zone pivot="blue"', ""),
        ("::: zone-end", ""),
        ('::: moniker range=">= a"', ""),
        (':::column span="2":::', ""),
        (":::row:::", ""),
    ],
)
def test_a_mark_leaves_its_title(line: str, expected: str) -> None:
    assert plain_directive(line) == expected


@pytest.mark.parametrize(
    "line", ["", "::", "text ::: note", ":::note: x", ":::f(x)", "::: 1", "::: a::b", "a ::: b", "std::vector", ":::-:"]
)
def test_other_lines_are_no_marks(line: str) -> None:
    assert plain_directive(line) is None


@pytest.mark.parametrize("unit", [":", "a", "{", "[", "[]", 'a="', "a='b' ", "{}", " ", "-"])
def test_cost_is_near_linear(unit: str) -> None:
    def work(size: int) -> None:
        for before in (":::", ":::a ", ":::{", ":::a["):
            plain_directive(before + unit * (size // len(unit)) + "\0")

    assert_near_linear(work, 100_000, 1_600_000)
