"""Data URIs lose their contents wherever they are; short examples and all other text stay."""

import pytest

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.cleaning.clean_document import clean_document
from nima_cli.engine.data.cleaning.links import EXAMPLE_CHARACTERS, shorten_data_uris
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from nima_cli.engine.data.document import Document, Turn
from tests.growth import assert_near_linear

BASE64 = "iVBORw0KGgo+/AAAANSUhEUg" * 20 + "=="
PERCENT = "%3Csvg%20viewBox='0%200%2016%2016'%3E" * 10
SPACED = "%3csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3e" * 5
ROTATED = "%3Cg%20transform='rotate(45)'%3E" * 10
BROKEN = "\n    ".join(["QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0123456789abcd"] * 8)


def shortened(text: str) -> tuple[str, int]:
    report = CleaningCounts()
    return shorten_data_uris(text, report), report.data_uris


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"![a](data:image/png;base64,{BASE64})", "![a](data:image/png;base64,…)"),
        (f'<img alt="a" src="data:image/png;base64,{BASE64}">', '<img alt="a" src="data:image/png;base64,…">'),
        (f"<img src='data:image/png;base64,{BASE64}' alt='a'>", "<img src='data:image/png;base64,…' alt='a'>"),
        (f'<img src="data:image/png;base64,\n    {BROKEN}\n">', '<img src="data:image/png;base64,…">'),
        (f"[x]: data:text/plain;charset=utf-8,{PERCENT}\nText", "[x]: data:text/plain;charset=utf-8,…\nText"),
        (f"a {{ b: url(data:font/woff2;base64,{BASE64}); }}", "a { b: url(data:font/woff2;base64,…); }"),
        (f'a {{ b: url("data:image/svg+xml,{SPACED}"); }}', 'a { b: url("data:image/svg+xml,…"); }'),
        (f"![a](data:image/svg+xml,{ROTATED})", "![a](data:image/svg+xml,…)"),
        (
            f"bare data:application/octet-stream;base64,{BASE64} here",
            "bare data:application/octet-stream;base64,… here",
        ),
        (f'{{\\"icon\\": \\"data:image/png;base64,{BASE64}\\"}}', '{\\"icon\\": \\"data:image/png;base64,…\\"}'),
        (f"data:;base64,{BASE64}", "data:;base64,…"),
        (f"```html\n<img src=data:image/gif;base64,{BASE64}>\n```", "```html\n<img src=data:image/gif;base64,…>\n```"),
    ],
)
def test_contents_go_wherever_the_uri_is(text: str, expected: str) -> None:
    assert shortened(text) == (expected, 1)
    assert shortened(expected) == (expected, 0)


@pytest.mark.parametrize(
    "text",
    [
        "A short one: data:text/plain,Hello%20there stays.",
        "`data:image/gif;base64," + "A" * EXAMPLE_CHARACTERS + "`",
        "metadata:image/png;base64," + BASE64,
        "data: " + "words and more words, " * 20,
        "data:\n  ca.crt: " + BASE64,
        'The prefix "data:text/plain, and then ' + "many more words " * 20,
    ],
)
def test_examples_and_other_text_stay(text: str) -> None:
    assert shortened(text) == (text, 0)


def test_two_in_a_line_are_two() -> None:
    one = f"data:image/png;base64,{BASE64}"
    assert shortened(f"{one} {one}, '{one}'") == (
        "data:image/png;base64,… data:image/png;base64,… 'data:image/png;base64,…'",
        3,
    )


@pytest.mark.parametrize("keep_links", [True, False])
@pytest.mark.parametrize("strip_markup", [True, False])
def test_of_a_picture_its_words_stay_whatever_else_does(keep_links: bool, strip_markup: bool) -> None:
    text = (
        f"![The start](data:image/png;base64,{BASE64}), ![dot](data:image/gif;base64,R0lGOD), [save](data:,x 'y').\n\n"
        f"![By name][pic]\n\n[pic]: <data:image/png;base64,{BASE64}>\n\n`[a](data:,x)`\n"
    )
    report = CleaningCounts()
    config = DataConfig(keep_links=keep_links, strip_markup=strip_markup)
    found = clean_document(Document("markdown", 0, "x.md", text=text), config, report).text
    assert found == "The start, dot, save.\n\nBy name\n\n`[a](data:,x)`"
    assert report.data_uris == (4 if keep_links else 2)


def test_they_are_no_text_in_any_kind_of_document() -> None:
    uri = f"data:image/png;base64,{BASE64}"
    plain = Document("text", 0, "x.rst", text=f".. image:: {uri}")
    assert clean_document(plain, DataConfig(), CleaningCounts()).text == ".. image:: data:image/png;base64,…"
    talk = Document("chat", 0, "x.json", turns=(Turn("user", f"What is {uri}?"), Turn("assistant", "A picture.")))
    assert (
        clean_document(talk, DataConfig(), CleaningCounts())
        .turns[0]
        .content.startswith("What is data:image/png;base64,…")
    )


@pytest.mark.parametrize(
    "unit",
    [
        "A",
        "data:",
        "data:,",
        '"data:a/b,',
        "'data:a/b,",
        "data:a/b;base64,",
        "(",
        "()",
        "%20",
        "data:,(",
        "\"data:,'",
        ";a",
    ],
)
def test_cost_is_near_linear(unit: str) -> None:
    def work(size: int) -> None:
        text = unit * (size // len(unit))
        for before in ("", '"data:image/png;base64,', "(data:,"):
            shorten_data_uris(before + text, CleaningCounts())

    assert_near_linear(work, 50_000, 800_000)
