"""Marks go, words stay, code is never touched; and each change is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.cleaning.clean_document import clean_document
from nima_cli.engine.data.cleaning.links import strip_links
from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.cleaning.markup import strip_markup
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from nima_cli.engine.data.document import Document, Turn
from tests.growth import assert_near_linear


def strip(text: str) -> str:
    return strip_markup(text, CleaningCounts())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one <!-- two\n\nthree --> four", "one  four"),
        ("<!-- licence\nlines -->\n\nText", "\nText"),
        ("one <!-- never closed", "one <!-- never closed"),
        ("{{< note >}}\nKeep **this**.\n{{< /note >}}", "Keep **this**."),
        ('A {{< glossary_tooltip text="pod" term_id="pod" >}} runs.', "A pod runs."),
        ("[guide]({{< ref \"/docs/guide\" >}})", "[guide](/docs/guide)"),
        ('## {{% heading "whatsnext" %}}\n\nx', "## whatsnext\n\nx"),
        ('{{% tab name="a" %}}\nx\n{{% /tab %}}', "x"),
        ("{{ .Values.name }} stays", "{{ .Values.name }} stays"),
        (":::note\nKeep\n:::", "Keep"),
        (":::warning Mind this\nKeep\n:::", "Mind this\nKeep"),
        (":::tip[Mind this]\nKeep\n:::", "Mind this\nKeep"),
        ("::::{note} Title\n:class: wide\n:name: x\n\n:::{tip}\nKeep\n:::\n::::", "Title\n\nKeep"),
        (':::image source="a.png" alt-text="A pump.":::\n\n::: zone pivot="b"\nKeep\n::: zone-end', "A pump.\n\nKeep"),
        (':::warning{title="Hot"}\nKeep\n\n:term: stays\n:::', "Hot\nKeep\n\n:term: stays"),
        ("<HTTPRoute>\n<API>\nKeep\n</HTTPRoute> \n<Tab/>", "<API>\nKeep"),
        ("import Tabs from '@theme/Tabs';\n\n<Tabs groupId=\"x\">\nKeep\n</Tabs>", "\nKeep"),
        ("import it from there\n", "import it from there\n"),
        ("<div class=\"a\">\n\nKeep\n\n</div>", "\nKeep\n"),
        ('See <a href="x">the <span>page</span></a><br/>', "See the page "),
        ('<img src="x.png" alt="A diagram"> here', "A diagram here"),
        ("replace <name> and <NAME>, List<T>", "replace <name> and <NAME>, List<T>"),
        ("run `<br>` or <code><p></code>, ``a ` <!-- b -->``", "run `<br>` or <code><p></code>, ``a ` <!-- b -->``"),
        ("<table>\n<tr><td>x</td></tr>\n</table>", "<table>\n<tr><td>x</td></tr>\n</table>"),
    ],
)  # fmt: skip
def test_marks_go_and_words_stay(text: str, expected: str) -> None:
    assert strip(text) == expected


def test_shortcodes_that_hold_code_become_fences() -> None:
    listed = "1. Do\n\n   {{< text bash >}}\n   $ ls <div>\n   # x {{< y >}}\n   {{< /text >}}\n\n"
    other = "{{< highlight go >}}\n```\n{{< /highlight >}}"
    assert strip(listed + other) == "1. Do\n\n   ```bash\n   $ ls <div>\n   # x {{< y >}}\n   ```\n\n````go\n```\n````"
    assert strip("{{< text bash >}}\nnever closed") == "never closed"


CODE = [
    "```html\n<div><!-- c -->{{< x >}}</div>\n:::note\nimport a from 'b'\n\n<Tabs>\n```",
    "~~~~\n---\ntitle: x\n---\n[a](b)\n~~~~",
    "    <br> {{% x %}} <!-- c -->\n    [a](b)",
    "<pre>\n<span>a</span>\n\n\n<!-- b -->\n</pre>",
    "- item\n\n  ```sh\n  ls <a href> {{< x >}}\n  ```",
]
PROSE = [
    "word <b>bold</b>",
    "<div>",
    "</div>",
    "<!-- c -->",
    "{{< note >}}",
    ":::",
    "# Head",
    "- item",
    "",
    "`x` <br>",
    "<p>",
]


@pytest.mark.parametrize("code", CODE)
def test_code_stays_byte_for_byte(code: str) -> None:
    text = f"before <br>\n\n{code}\n\nafter <!-- c -->"
    assert strip(text) == f"before  \n\n{code}\n\nafter "
    assert strip_links(text, CleaningCounts()) == text


@given(st.lists(st.sampled_from(CODE[:2] + PROSE), max_size=12), st.booleans())
def test_every_fence_survives_anything_around_it(parts: list[str], links: bool) -> None:
    text = "\n\n".join(parts)
    lines = text.split("\n")
    fences = ["\n".join(lines[b.start : b.end]) for b in blocks(text) if b.kind == "fence"]
    config = DataConfig(keep_links=links)
    refined = clean_document(Document("markdown", 0, "x", text=text), config, CleaningCounts()).text
    for fence in fences:
        assert fence.strip("\n") in refined


def test_all_is_counted() -> None:
    report = CleaningCounts()
    strip_markup("---\na: 1\n---\n<!-- c -->\n{{< note >}}\n:::\n<p>x</p>", report)
    assert (report.front_matter, report.comments, report.shortcodes, report.tags) == (1, 1, 2, 2)
    more = CleaningCounts(links=2)
    more.add(report)
    assert (more.links, more.tags) == (2, 2)


def test_conversations_and_plain_text_keep_their_marks() -> None:
    talk = Document("qa", 0, "x", turns=(Turn("user", "What is <!-- x -->?"), Turn("assistant", "{{< y >}} <br>")))
    assert clean_document(talk, DataConfig(), CleaningCounts()) == talk
    plain = Document("text", 0, "x", text="---\ntitle: x\n---\n<br>")
    assert clean_document(plain, DataConfig(), CleaningCounts()) == plain
    marked = Document("markdown", 0, "x", text="<p>a</p> [b](c)")
    assert clean_document(marked, DataConfig(strip_markup=False), CleaningCounts()) == marked
    assert clean_document(marked, DataConfig(keep_links=False), CleaningCounts()).text == "a b"


def test_unicode_is_normalised_on_request() -> None:
    document, report = Document("text", 0, "x", text="e\u0301 \ufb01"), CleaningCounts()
    assert clean_document(document, DataConfig(), report).text == "e\u0301 \ufb01"
    assert report.normalized == 0
    assert clean_document(document, DataConfig(normalize="nfc"), report).text == "\u00e9 \ufb01"
    assert report.normalized == 1


UNITS = [
    "`",
    "` ",
    "<",
    "<!--",
    "{{<",
    "{{< text a >}}\n",
    "[",
    "[a](",
    "<a ",
    "``a",
    ":::\n",
    "---\n",
    "<code>",
    "<pre>\n",
    "<div>\n<pre>\n\n",
    "<Ab",
    "Ab",
    "`\n",
    "    ",
    "{/*",
    ":::{a}\n:b:\n",
    '<a b="',
]


@pytest.mark.parametrize("unit", UNITS)
def test_cost_is_near_linear(unit: str) -> None:
    def work(size: int) -> None:
        text = unit * (size // len(unit))
        for before in ("", "<", "Text `", "- <Ab "):
            strip(before + text)

    assert_near_linear(work, 6_000, 96_000)
