"""AsciiDoc comes out as the Markdown a reader of its page would write; code is exact, markup is gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.engine.data.ingest.formats.asciidoc.asciidoc import asciidoc_to_markdown
from tests.growth import assert_near_linear


@pytest.mark.parametrize(
    ("asciidoc", "markdown"),
    [
        ("*bold* _it_ `mono` #marked# **b**old", "**bold** *it* `mono` marked **b**old"),
        ("snake_case_name 2*3*4 a_b", "snake_case_name 2*3*4 a_b"),
        ("\"`quoted`\" and '`single`'", "“quoted” and ‘single’"),
        ("`+a*b*+` +++<u>+++x", "`a*b*` <u>x"),
        (
            "https://a.org[the site] https://b.org[] https://c.org",
            "[the site](https://a.org) https://b.org https://c.org",
        ),
        ("link:x.html[X^] mailto:a@b.c[Me]", "[X](x.html) Me"),
        ("<<sec,the section>> <<other>> xref:a.adoc#b[there]", "the section other there"),
        ("image:a.png[An icon,20] kbd:[Ctrl+C] menu:File[Save > As]", "An icon `Ctrl+C` File > Save > As"),
        ("a footnote:[It is *so*.] b", "a  (It is **so**.) b"),
        ("pass:[<b>] stem:[x^2] ((term))(((hidden)))", "<b> $x^2$ term"),
        ("[.path]`x` [[anchor]]here", "`x` here"),
        ("{base}/x[the page^] and https://a.org/a\\...b[diff]", "the page and [diff](https://a.org/a...b)"),
        ("\\*not bold* {set} {unset} {nbsp}.", "*not bold* {set} {unset}  ."),
    ],
)
def test_inline(asciidoc: str, markdown: str) -> None:
    assert asciidoc_to_markdown(asciidoc) == markdown


@pytest.mark.parametrize(
    ("asciidoc", "markdown"),
    [
        ("= Book\nJane Doe <j@x.org>\nv1.0, 2024\n:toc:\n\ntext\n\n== Part\n\n=== Sec ===\n",
         "# Book\n\ntext\n\n## Part\n\n### Sec\n"),
        (":a: one\n:b: {a} two\n:long: x \\\n  y\n\n{b}, {long}, {c}", "one two, x y, {c}"),
        ("Book\n====\nJane Doe\n:a: b\n\ntext\n\nA part\n------\n\nSmall\n~~~~~\n",
         "# Book\n\ntext\n\n## A part\n\n### Small\n"),
        ("[#here]\n== A title\n\nSee <<here>> and <<_a_title>>.", "## A title\n\nSee A title and A title."),
        ("a\n\n// comment\n\n////\nlong\n\ncomment\n////\nb", "a\n\nb"),
        ("NOTE: Be\nquick.", "> **Note:** Be\n> quick."),
        ("[WARNING]\n====\nOne.\n\n* two\n====", "> **Warning:** One.\n>\n> - two"),
        ("[TIP]\nDo it.", "> **Tip:** Do it."),
        (".Title\n====\nExample.\n====", "**Title**\n\nExample."),
        ("****\nAside.\n****\n\n--\nOpen.\n--", "> Aside.\n\nOpen."),
        ("[quote, Who, Where]\n____\nWords.\n____", "> Words.\n>\n> — Who, Where"),
        ("* a\n** b\n* c\n\n- d", "- a\n  - b\n- c\n\n  - d"),
        (". a\n.. b\n. c", "1. a\n   1. b\n2. c"),
        ("* a\n+\nmore\n+\n----\ncode\n----\n* b", "- a\n\n  more\n\n  ```\n  code\n  ```\n- b"),
        ("CPU:: The brain\nof it.\nRAM::\n  Memory.", "- **CPU**: The brain\n  of it.\n- **RAM**: Memory."),
        ("ifdef::x[]\nkept\nendif::[]\nifndef::y[also kept]\ninclude::z.adoc[]\n", "kept\n\nalso kept\n"),
        ("image::a.png[A picture]\n\n'''\n\nb", "A picture\n\n---\n\nb"),
        ("one +\ntwo", "one\ntwo"),
    ],
)  # fmt: skip
def test_blocks(asciidoc: str, markdown: str) -> None:
    assert asciidoc_to_markdown(asciidoc) == markdown


@pytest.mark.parametrize(
    ("asciidoc", "markdown"),
    [
        ("[source,ruby]\n----\nputs *x* # <1>\n\n  y {a}\n----\n<1> Says it",
         "```ruby\nputs *x* # <1>\n\n  y {a}\n```\n\n1. Says it"),
        (".Run\n[source,sh]\n----\nls\n----", "**Run**\n\n```sh\nls\n```"),
        (":v: 2\n\n[source,sh,subs=\"attributes\"]\n----\nget {v}\n----", "```sh\nget 2\n```"),
        ("....\n----\n....", "```\n----\n```"),
        ("```js\nx\n```", "```js\nx\n```"),
        (" indented\n   code", "```\nindented\n  code\n```"),
        ("[source,c]\nint x;\n\ntext", "```c\nint x;\n```\n\ntext"),
        ("----\nnever closed\n\n== no title", "```\nnever closed\n\n== no title\n```"),
    ],
)  # fmt: skip
def test_code_is_exact(asciidoc: str, markdown: str) -> None:
    assert asciidoc_to_markdown(asciidoc) == markdown


@pytest.mark.parametrize(
    ("asciidoc", "rows"),
    [
        ("|===\n|A |B\n\n|a |1\n|b\n|*2*\n|===", ["| A | B |", "| --- | --- |", "| a | 1 |", "| b | **2** |"]),
        ('[cols="1,2",options="header"]\n|===\n|A\n|B\n|c \\| d\n|e\n|===',
         ["| A | B |", "| --- | --- |", "| c \\| d | e |"]),
        ("|===\n|a |b\n|c |d\n|===", ["|  |  |", "| --- | --- |", "| a | b |", "| c | d |"]),
        (",===\na,\"b,c\"\n,===", ["|  |  |", "| --- | --- |", "| a | b,c |"]),
    ],
)  # fmt: skip
def test_tables(asciidoc: str, rows: list[str]) -> None:
    assert asciidoc_to_markdown(asciidoc).split("\n") == rows


@pytest.mark.parametrize("text", ["", "word", "Two words.\n\nOther lines\nof text, x_y, a: b.\n", "- a\n- b\n"])
def test_a_text_without_markup_comes_back_as_it_was(text: str) -> None:
    assert asciidoc_to_markdown(text) == text


PIECES = [
    *("====", "----", "****", "____", "--", "|===", "|a |b", "= A", "== B", "* a", "** b", ". c", "a::", "a:: b", "+"),
    *("[NOTE]", "[source,x]", ".Title", ":a: {a}", "{a}", "ifdef::x[", "<1> x", "image::a[b]", "//", "////", "'''"),
    *("link:a[", "<<a", "*a", "`+", "+++", "footnote:[x]", "\x02 0\x03", "[quote", "  x", '[cols="9*"]', "NOTE: x"),
    *("```", ""),
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=9)), max_size=30).map("\n".join))
def test_nothing_makes_it_fail(text: str) -> None:
    asciidoc_to_markdown(text)


@given(st.lists(st.text("abcd ", min_size=1, max_size=20).filter(lambda text: text[0] != " "), max_size=9))
def test_words_of_paragraphs_survive(paragraphs: list[str]) -> None:
    assert asciidoc_to_markdown("\n\n".join(paragraphs)).split() == " ".join(paragraphs).split()


@pytest.mark.parametrize(
    "piece", ["*a ", "_a ", "link:a[", "<<a,", "====\n----\n", "* a\n", "{a}", "|===\n|a\n", "a::\n", "* a\n+\n"]
)
def test_time_grows_with_the_text_alone(piece: str) -> None:
    assert_near_linear(lambda times: asciidoc_to_markdown(piece * times), 1000, 16000)
