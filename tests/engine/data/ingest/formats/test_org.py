"""Org comes out as Markdown: what is for Org's agenda and export alone is gone, code is exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.engine.data.ingest.formats.org import org_to_markdown
from tests.growth import assert_near_linear


@pytest.mark.parametrize(
    ("org", "markdown"),
    [
        ("*bold* /it/ ~code~ =verb= +old+ _under_", "**bold** *it* `code` `verb` ~~old~~ under"),
        ("a/b/c, 2*3*4, x_y_z, /usr/bin", "a/b/c, 2*3*4, x_y_z, /usr/bin"),
        ("[[https://x.org][the site]] [[file:a.org]] [[*Sec][there]]", "[the site](https://x.org) a.org there"),
        ("a[fn:1] b[fn:: inline]", "a[^1] b (inline)"),
        ("[fn:1] The note.", "[^1]: The note."),
        ("<<target>>here", "here"),
        ("*see [[#x][there]]* [[file:a.png]]!", "**see there** !"),
    ],
)
def test_inline(org: str, markdown: str) -> None:
    assert org_to_markdown(org) == markdown


@pytest.mark.parametrize(
    ("org", "markdown"),
    [
        ("#+TITLE: Book\n#+AUTHOR: A\n\n* One\ntext\n** Two", "# Book\n\n## One\n\ntext\n\n### Two"),
        ("* TODO [#A] Buy /milk/ :shop:home:\n  SCHEDULED: <2024-01-01>\n  :PROPERTIES:\n  :ID: x\n  :END:\n  Now.",
         "# Buy *milk*\n\nNow."),
        ("#+TODO: FIX | OK\n* FIX it", "# it"),
        ("#+BEGIN_SRC python :results x\n  if *a*:\n      ,* b\n#+END_SRC", "```python\nif *a*:\n    * b\n```"),
        ("#+begin_example\n* no title\n#+end_example", "```\n* no title\n```"),
        ("#+BEGIN_QUOTE\nTo *be*.\n#+END_QUOTE", "> To **be**."),
        ("a\n# comment\n#+OPTIONS: x\n#+BEGIN_COMMENT\nhidden\n#+END_COMMENT\nb", "a\nb"),
        (": fixed\n:   more", "```\nfixed\n  more\n```"),
        ("- a\n  b\n  + c\n- t :: what\n1) d", "- a\n  b\n  - c\n- **t**: what\n1. d"),
        ("* H\n  - a\n    - b\n\n    more", "# H\n\n- a\n  - b\n\n  more"),
        ("| A | B |\n|---+---|\n| 1 | =x= |", "| A | B |\n| --- | --- |\n| 1 | `x` |"),
        ("| 1 | 2 |", "|  |  |\n| --- | --- |\n| 1 | 2 |"),
        ("a\n-----\nb", "a\n\n---\n\nb"),
        ("#+BEGIN_SRC\nnever closed", "never closed"),
    ],
)  # fmt: skip
def test_blocks(org: str, markdown: str) -> None:
    assert org_to_markdown(org) == markdown


@pytest.mark.parametrize("text", ["", "word", "Two words.\n\nOther lines\nof text, x_y, a: b.\n", "- a\n- b\n"])
def test_a_text_without_markup_comes_back_as_it_was(text: str) -> None:
    assert org_to_markdown(text) == text


PIECES = [
    *(
        "* A",
        "** TODO B :x:",
        "#+BEGIN_SRC",
        "#+END_SRC",
        "#+begin_quote",
        "#+end_quote",
        ":PROPERTIES:",
        ":END:",
        "- a",
    ),
    *(
        "  - b",
        "1. c",
        "| a |",
        "|-",
        "[[a",
        "[[a][b]]",
        "*a",
        "=a",
        "[fn:1]",
        "#",
        "#+",
        ": x",
        "-----",
        "",
        "  x",
        "- t ::",
    ),
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=9)), max_size=30).map("\n".join))
def test_nothing_makes_it_fail(text: str) -> None:
    org_to_markdown(text)


@given(st.lists(st.text("abcd ", min_size=1, max_size=20), max_size=9))
def test_words_of_paragraphs_survive(paragraphs: list[str]) -> None:
    assert org_to_markdown("\n\n".join(paragraphs)).split() == " ".join(paragraphs).split()


@pytest.mark.parametrize(
    "piece", ["*a ", "[[a", "* A\n", "- a\n", "#+BEGIN_x\n", ":a:\n", "| a\n", "  x\n- y\n", "|      "]
)
def test_time_grows_with_the_text_alone(piece: str) -> None:
    assert_near_linear(lambda times: org_to_markdown(piece * times), 1000, 16000)
