"""What the converters of lightweight markup share."""

from collections.abc import Sequence

import pytest

from nima_cli.engine.data.ingest.formats.blocks import (
    Block,
    Converter,
    indented_end,
    list_items,
    markdown_text,
    next_text,
    run_end,
)


class _Lines(Converter):
    """Every line is a block; `>` holds the rest of its line, `-` shows nothing."""

    def __init__(self) -> None:
        super().__init__(str.upper)

    def block(self, lines: Sequence[str], index: int) -> Block:
        line = lines[index]
        if line.startswith(">"):
            return self.nested([line[1:]]), index + 1
        return ([] if line == "-" else [self.inline(line)]), index + 1


@pytest.mark.parametrize(
    ("lines", "written"),
    [
        (["a", "b"], ["A", "", "B"]),
        (["", "a", "", "", "b", ""], ["A", "", "", "B"]),
        (["a", "", "-", "b"], ["A", "", "B"]),
        ([">>a"], ["A"]),
        ([], []),
    ],
)
def test_blocks_keep_the_blank_lines_between_them(lines: list[str], written: list[str]) -> None:
    assert _Lines().blocks(lines) == written


def test_what_is_nested_too_deeply_stays_as_it_is() -> None:
    assert _Lines().blocks([">" * 10 + "a"]) == ["A"]
    [left] = _Lines().blocks([">" * 100 + "a"])
    assert left.endswith(">a")


def test_items_and_the_blank_lines_between_them() -> None:
    lines = ["- a", "", "- b", "", "c"]

    def item(index: int) -> Block | None:
        return ([lines[index]], index + 1) if lines[index].startswith("- ") else None

    assert list_items(item, lines, 0) == (["- a", "", "- b"], 3)
    assert list_items(item, lines, 0, tight=True) == (["- a", "- b"], 3)
    assert list_items(item, lines, 4) is None


def test_lines_that_belong_together() -> None:
    lines = ["  a", "", "  b", "", "c"]
    assert indented_end(lines, 0) == 3
    assert indented_end(lines, 4) == 4
    assert next_text(lines, 3) == 4
    assert next_text(lines, 5) == 5
    assert run_end(lines, 0, bool) == 1


def test_a_text_ends_as_its_source_does() -> None:
    assert markdown_text(["a"], "a\n") == "a\n"
    assert markdown_text(["a"], "a") == "a"
    assert markdown_text([], "\n") == ""
