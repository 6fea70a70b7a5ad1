"""Cleaning tidies prose and leaves code byte for byte."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nima_cli.engine.data.cleaning.whitespace import CleaningCounts, tidy
from nima_cli.engine.data.document import Kind
from tests.growth import assert_near_linear

CODE_LINES = [
    "    code  ",
    "\ttab\t",
    "```",
    "~~~~",
    "```sh  ",
    ">>> f()  ",
    "| a | b | ",
    "|---|---|",
    "x::",
    "---",
    "+++",
]
OTHER_LINES = ["", " ", "\t", "word  ", "  two", "- item ", "1. x", "> q  ", "# h ", "===", "\x1b \r"]
HTML_LINES = ["<pre>", "</pre> ", "<div> ", "<!--", "-->"]
LINES = st.sampled_from(CODE_LINES + OTHER_LINES + HTML_LINES)
TEXTS = st.lists(LINES, max_size=14).map("\n".join)
PROSE: list[Kind] = ["text", "markdown"]


def tidied(text: str, kind: Kind, counts: CleaningCounts | None = None) -> str:
    return tidy(text, kind, counts or CleaningCounts())


@pytest.mark.parametrize("kind", PROSE)
def test_white_space_in_prose(kind: Kind) -> None:
    report = CleaningCounts()
    assert tidied("\n \n\none  \n\n \n\t\ntwo\t\n\nthree\n\n\n", kind, report) == "one\n\ntwo\n\nthree"
    assert report.trailing_spaces == 5
    assert report.blank_lines == 7


@pytest.mark.parametrize("kind", PROSE)
def test_line_ends(kind: Kind) -> None:
    assert tidied("a\r\nb\rc\n\r\n\r\nd\r\n", kind) == "a\nb\nc\n\nd"
    assert tidied("```\r\nx\r\n```\r\n", "markdown") == "```\nx\n```"


@pytest.mark.parametrize(
    "block",
    [
        "```sh\n$ ls  \n\n\n\t# tab\t\n```",
        "````\n```\n  \n\n```  \n````",
        "~~~\na  \n\n\nb\n~~~",
        "- item\n\n  ```yaml\n  a:  \n\n\n    b: 1\n  ```",
        "    indented  \n\n\n    code\t",
        "| a  | b |\n|----|---|  \n| 1  | 2 |  ",
        "<pre>\n a  \n\n\n\n b  \n</pre>",
        "<div>\n<pre>\n a  \n\n\n\n b  \n</pre>",
        "<!-- x  \n\n\n y -->",
        "```\nnever closed  \n\n\nend",
    ],
)
@pytest.mark.parametrize("kind", ["markdown", "qa", "chat"])
def test_markdown_code_stays_byte_for_byte(block: str, kind: Kind) -> None:
    assert tidied(f"prose  \n\n\n\n{block}", kind) == f"prose\n\n{block}"
    assert tidied(f"---\na: 1  \n\n\nb: 2\n---\n\n\n{block}", kind) == f"---\na: 1  \n\n\nb: 2\n---\n\n{block}"


def test_blank_lines_go_at_the_end_even_of_an_unclosed_fence() -> None:
    assert tidied("```\ncode  \n\n\nmore  \n \n\n", "markdown") == "```\ncode  \n\n\nmore  "


@pytest.mark.parametrize(
    "block",
    [
        "   literal  \n\n\n     deeper\t\n   end",
        "\ttab  \n\n\n\ttab",
        ">>> print('a  ')  \na  \n... x  ",
    ],
)
def test_text_code_stays_byte_for_byte(block: str) -> None:
    assert tidied(f"Example::  \n\n\n{block}\n\n\n\nafter  \n", "text") == f"Example::\n\n{block}\n\nafter"


def test_text_is_not_markdown() -> None:
    assert tidied("```  \na\n\n\nb  \n```", "text") == "```\na\n\nb\n```"


def test_control_and_invisible_characters_are_kept_and_counted() -> None:
    report = CleaningCounts()
    text = "a\x1b[31mb\x00\x85 \u202e\u200bc\tand\nmore"
    assert tidied(text, "markdown", report) == text
    assert (report.control_characters, report.invisible_characters) == (3, 2)


def test_other_unicode_space_is_text() -> None:
    text = "a\u00a0\nb\u2028\u3000\n\x0c\n\nc\u2003"
    assert tidied(text, "markdown") == text


@example("\n---\n```\n---\n>>> f()  ", "markdown")  # front matter only once the first line is gone
@given(TEXTS, st.sampled_from(PROSE))
def test_cleaning_twice_is_cleaning_once(text: str, kind: Kind) -> None:
    once = tidied(text, kind)
    assert tidied(once, kind) == once


@given(TEXTS, st.sampled_from(PROSE))
def test_only_white_space_goes(text: str, kind: Kind) -> None:
    assert tidied(text, kind).split() == text.split()
    kept = [line.rstrip() for line in tidied(text, kind).split("\n") if line.strip()]
    assert kept == [line.rstrip() for line in text.replace("\r", "\n").split("\n") if line.strip()]


@pytest.mark.parametrize(
    "unit", ["a", "`", "> ", "[", "- ", "\n", " ", "*a ", "<", "|", "    x\n", "a  \n\n\n", "&#", "- a\n"]
)
def test_pathological_text_is_near_linear(unit: str) -> None:
    assert_near_linear(lambda size: tidied("x  \n" + unit * (size // len(unit)), "markdown"), 5_000, 80_000)
