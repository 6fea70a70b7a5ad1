"""Blocks come from CommonMark structure, with exact line spans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.engine.data.cleaning.markdown import blocks, heading_paths
from nima_cli.engine.data.document import Kind
from nima_cli.engine.data.tokenizer.chunk import Chunk, split_text

LINES = ["# A", "## B", "### C", "word " * 6, "", "", "```", "    code", "Title", "=====", "Sub", "---"]
TEXTS = st.lists(st.sampled_from(LINES), max_size=40).map("\n".join)
PROSE: list[Kind] = ["text", "markdown"]


def spans(text: str, *kinds: str) -> list[tuple[str, str]]:
    """(kind, text of the block) for the blocks of these kinds."""
    lines = text.split("\n")
    return [(b.kind, "\n".join(lines[b.start : b.end])) for b in blocks(text) if not kinds or b.kind in kinds]


@pytest.mark.parametrize(
    "fence",
    [
        "```sh\n# a comment, no heading\n\n\nls\n```",
        "````md\n```\n# inner\n```\n````",
        "~~~\n``` not closed by this\n\n# x\n~~~",
        "```\nnever closed\n\n# x",
        "```\n\ttabs\t\n```",
    ],
)
def test_fences(fence: str) -> None:
    text = f"before\n\n{fence}"
    assert spans(text) == [("paragraph", "before"), ("fence", fence)]


def test_a_fence_in_a_list_is_found_inside_it() -> None:
    fence = "  ```yaml\n  a: 1\n\n\n  # b\n  ```"
    text = f"- item\n\n{fence}\n\n- next\n\n# After\n"
    assert spans(text, "fence", "heading") == [("fence", fence), ("heading", "# After")]
    assert [block.depth > 0 for block in blocks(text) if block.kind == "fence"] == [True]


def test_headings_have_levels_and_both_spellings() -> None:
    text = "# One\n\nTwo\n---\n\n####### seven\n\n#hash\n\n###### Six #"
    assert [(b.level, b.start) for b in blocks(text) if b.kind == "heading"] == [(1, 0), (2, 2), (6, 9)]


def test_other_kinds() -> None:
    text = (
        "    code\n\n    more\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<div>\n  x\n</div>\n\n> quote\n\n1. list\n\n***\n"
    )
    kinds = [block.kind for block in blocks(text) if not block.depth]
    assert kinds == ["code", "table", "html", "other", "list", "other"]
    assert spans(text, "code") == [("code", "    code\n\n    more")]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("---\ntitle: x\n# comment\n\nweight: 1\n---\n# Real\n", 6),
        ("+++\ntitle = 1\n+++\n# Real\n", 3),
        ("---\ntitle: x\n...\n# Real\n", 3),
    ],
)
def test_front_matter_is_its_own_block(text: str, lines: int) -> None:
    first, second = blocks(text)
    assert (first.kind, first.start, first.end) == ("front_matter", 0, lines)
    assert (second.kind, second.start) == ("heading", lines)


@pytest.mark.parametrize(
    "text", ["---\n\nno front matter\n\n---\n", "---\nnever closed\n", "x\n---\na: 1\n---\n", "", "---"]
)
def test_a_rule_is_not_front_matter(text: str) -> None:
    assert all(block.kind != "front_matter" for block in blocks(text))


def paths(text: str, kind: Kind) -> list[tuple[str, ...]]:
    lines = [f"{line}\n" for line in text.split("\n")]
    return heading_paths(lines, kind)


def test_the_headings_over_a_line() -> None:
    text = "x\n# A\na\n## B\nb\n# C\nc\n```\n# no\n```\nSet\n---\nd"
    a, b, c, d = "# A\n", "## B\n", "# C\n", "Set\n---\n"
    found = paths(text, "markdown")
    assert found[:7] == [(), (), (a,), (a,), (a, b), (), (c,)]
    assert found[8:] == [(c,), (c,), (c,), (c, d), (c, d)]


def test_titles_of_restructured_text() -> None:
    one, two, three = "One\n===\n", "Two\n---\n", "Tri\n===\n"
    text = f"{one}\na\n\n{two}\nb\n\n{three}\nc"
    found = paths(text, "text")
    assert (found[3], found[5], found[8], found[10], found[13]) == ((one,), (one,), (one, two), (), (three,))


def test_a_title_with_an_overline_is_one_heading_of_a_level_of_its_own() -> None:
    book, one, two, end = "======\nManual\n======\n", "*****\n Pum\n*****\n", "Set\n===\n", "*****\nLamps\n*****\n"
    text = f"{book}\n{one}\na\n\n{two}\nb\n\n{end}\nc"
    found = paths(text, "text")
    assert [found[index] for index in (0, 4, 8, 10, 13, 15, 19)] == [
        *((), (book,), (book, one), (book, one), (book, one, two), (book,), (book, end)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "=====\nA much longer line\n=====\n\nb",  # no title fits under so short an overline
        "=====\nTitle\n-----\n\nb",  # two kinds of lines
        "===== ===\nA     B\n===== ===\n\nb",  # a table
        "-----\n\nTitle\n\nb",
        "-----",
    ],
)
def test_what_has_lines_around_it_and_is_no_title(text: str) -> None:
    assert paths(text, "text")[-1] == ()


def test_pieces_of_a_text_begin_at_overlines() -> None:
    words = "word " * 9
    text = "\n\n".join(f"=======\n Title\n=======\n\n{words}\n\n{words}" for _ in range(3))
    assert [piece.text[:8] for piece in split_text(text, "text", len, 160, heading_context=False)] == ["=======\n"] * 3


def test_pieces_begin_with_the_headings_they_are_under() -> None:
    text = "# Guide\n\nintro words\n\n## Install\n\n" + "\n\n".join(f"paragraph {n} of it" for n in range(9))
    pieces = split_text(text, "markdown", len, 80)
    assert "".join(piece.text for piece in pieces) == text
    assert pieces[0].context == ""
    assert {piece.context for piece in pieces[1:]} <= {"# Guide\n\n", "# Guide\n## Install\n\n", "## Install\n\n"}
    assert all(piece.context for piece in pieces[1:])
    assert all(len(piece.context + piece.text) <= 80 for piece in pieces)


def test_a_piece_that_begins_with_a_heading_gets_only_those_above_it() -> None:
    text = "# Guide\n\n## One\n\n" + "a " * 30 + "\n\n## Two\n\n" + "b " * 30
    pieces = split_text(text, "markdown", len, 90)
    assert [piece.context for piece in pieces] == ["", "# Guide\n\n"]
    assert pieces[1].text.startswith("## Two")


def test_a_fence_that_fits_alone_is_never_cut_for_a_heading() -> None:
    fence = "```\n" + "x" * 80 + "\n```\n"
    text = f"# A long heading of a page\n\nsome words\n\n{fence}\nmore words\n"
    pieces = split_text(text, "markdown", len, len(fence))
    assert any(fence in piece.text for piece in pieces)
    assert next(piece for piece in pieces if fence in piece.text).context == ""


def test_what_fits_has_no_context() -> None:
    assert split_text("# A\n\nb", "markdown", len, 9) == [Chunk("", "# A\n\nb")]


@given(TEXTS, st.sampled_from(PROSE), st.integers(1, 90))
def test_nothing_is_lost_and_everything_fits(text: str, kind: Kind, limit: int) -> None:
    pieces = split_text(text, kind, len, limit)
    assert "".join(piece.text for piece in pieces) == text
    assert all(len(piece.context + piece.text) <= limit for piece in pieces)
    assert all(not piece.context or piece.context.endswith("\n\n") for piece in pieces)
    assert pieces[0].context == ""


@given(TEXTS, st.integers(20, 90))
def test_a_count_that_is_not_additive(text: str, limit: int) -> None:
    def count(part: str) -> int:
        return len(part) + 2 + (len(part) // 7 if "#" in part else 0)

    pieces = split_text(text, "markdown", count, limit)
    assert "".join(piece.text for piece in pieces) == text
    assert all(count(piece.context + piece.text) <= limit for piece in pieces)


def test_contexts_cost_little() -> None:
    text = "# Guide\n\n## Part\n\n" + "\n\n".join(f"paragraph {n} of the guide, with words" for n in range(400))
    with_context, without = (
        split_text(text, "markdown", len, 512),
        split_text(text, "markdown", len, 512, heading_context=False),
    )
    assert len(with_context) <= len(without) * 1.15
