"""Blocks come from CommonMark structure, with exact line spans."""

import pytest

from nima_cli.engine.data.cleaning.markdown import blocks


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
