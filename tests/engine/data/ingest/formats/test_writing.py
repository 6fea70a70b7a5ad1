"""The forms of Markdown that all converters share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.ingest.formats.writing import admonition, code_span, fence, link, table, term


@given(st.lists(st.sampled_from(["```", "````x", "a", "", "  b", "~~~", "# c"]), min_size=1, max_size=9))
def test_a_fence_holds_whatever_code_there_is(code: list[str]) -> None:
    lines = fence([*code, "end"], "sh")
    assert [(block.kind, block.start, block.end) for block in blocks("\n".join(lines))] == [("fence", 0, len(lines))]


@pytest.mark.parametrize(
    ("code", "span"),
    [("a", "`a`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("a``b`c", "```a``b`c```"), ("a\nb", "`a b`"), ("", "")],
)
def test_code_spans(code: str, span: str) -> None:
    assert code_span(code) == span


def test_links() -> None:
    assert link("a", "https://x.org") == "[a](https://x.org)"
    assert link("https://x.org", "https://x.org") == "https://x.org"
    assert link("a", "x (1)") == "[a](<x (1)>)"


def test_notes_and_terms_begin_on_their_first_line_unless_that_is_no_paragraph() -> None:
    assert admonition("Note", ["a", "b"]) == ["> **Note:** a", "> b"]
    assert admonition("Note", ["- a"]) == ["> **Note:**", ">", "> - a"]
    assert admonition("New in 3", []) == ["> **New in 3.**"]
    assert term("a", ["b", "", "c"]) == ["- **a**: b", "", "  c"]
    assert term("`a`", ["```", "b", "```"]) == ["- `a`:", "", "  ```", "  b", "  ```"]


def test_short_rows_of_a_table_are_filled_up() -> None:
    assert table([["a", "b"], ["c|d"]]) == ["| a | b |", "| --- | --- |", "| c\\|d |  |"]
    assert table([]) == []
