"""Marks go, words stay, code is never touched; and each change is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.cleaning.clean_document import clean_document
from nima_cli.engine.data.cleaning.links import strip_links
from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.cleaning.markup import strip_markup, without_statements
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from nima_cli.engine.data.document import Document, Turn
from tests.growth import assert_near_linear

STATEMENTS = [
    "import Tabs from '@theme/Tabs';",
    'import Tabs from "@theme/Tabs"',
    "import {\n  Card,\n  Cards as More,\n} from '@site/cards';",
    "import React, {useState} from 'react';",
    "import * as all from './all.js'",
    "import type {A} from './types'",
    "import '@site/src/page.css';",
    "export const version = '1.2';",
    "export const rows = [\n  {name: 'a', text: 'it}'},\n\n    {name: \"b\", text: `}\n{`}, // }\n];",
    "export const Red = ({children}) => (\n  <span style={{color: 'red'}}>\n    {children}\n  </span>\n);",
    "export const label =\n  'long';",
    "export const kind = wide\n  ? 'a'\n  : 'b';",
    "export function Box({title}) {\n  /* } */\n  return <div>{title}</div>;\n}",
    "export default function Layout(props) { return <main {...props} />; }",
    "export default ({children}) => <div>{children}</div>",
    "export default Layout;",
    "export class Box extends React.Component {\n  render() { return null; }\n}",
    "export {Box, Red as default};",
    "export {Box} from './box'",
    "export * from './all'",
    "export type Kind = 'a' | 'b'",
    "export const metadata: Metadata = {\n  title: 'x',\n}",
]
OTHERS = [
    'import "fmt"',
    "import os",
    "import path from x, or from `y`, in turn",
    "import it from there",
    'import the rows from "table" first',
    "import {a} from 'b' and go on",
    "export PATH=$PATH:/opt/bin",
    "export the page as a file",
    "export default values to a file",
    "export const names in capital letters",
    "export function calls to a graph",
    "export {name} as a file",
    "export class diagrams (see below)",
    "export const open = {\n  never: 'closed',\n\nText",
    "We export const x = 1;",
    "    export const x = 1;",
    "```js\nexport const x = 1;\nimport a from 'b';\n```",
    "<pre>\nexport const x = 1;\n</pre>",
    "`export const x = 1;`",
]


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


@pytest.mark.parametrize("statement", STATEMENTS)
def test_statements_go_whole(statement: str) -> None:
    report = CleaningCounts()
    assert without_statements(f"# Page\n\n{statement}\n\nText {{x}}.\n", report) == "# Page\n\n\nText {x}.\n"
    assert report.shortcodes == 1
    assert without_statements(f"{statement}\n{statement}", report) == ""


@pytest.mark.parametrize("text", OTHERS)
def test_what_only_begins_like_one_stays(text: str) -> None:
    report = CleaningCounts()
    assert strip_markup(f"# Page\n\n{text}\n\nMore.\n", report) == f"# Page\n\n{text}\n\nMore.\n"
    assert report.shortcodes == 0


def test_a_statement_does_not_swallow_what_stands_below_it() -> None:
    text = "import A from 'a'\nexport const b = 1\n:::note\nText\n:::\n\nexport const c = {\n```\ncode\n```\n"
    assert strip_markup(text, CleaningCounts()) == "Text\n\nexport const c = {\n```\ncode\n```\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {/* remark */} b", "a  b"),
        ("{/* over\n\nlines * / } */}\n\nText", "\nText"),
        ("{{/* template */}} and `{/* code */}`", "{{/* template */}} and `{/* code */}`"),
        ("{/* never closed", "{/* never closed"),
        ("a\n\n{props.children}\n\n{frontMatter.title}\n{' '}\n\nb", "a\n\n\n\nb"),
        ("{name}\n\n{a: 1}\n\n{'a': 1}\n\ncall {props.x} x", "{name}\n\n{a: 1}\n\n{'a': 1}\n\ncall {props.x} x"),
        ('<Card\n  title="x"\n  href="/y"\n/>\n\n<Tabs.Item value="a">\nText\n</Tabs.Item>', "\nText"),
        ("<Your\nname>\n\nGive <Name> and List<Card x=\"1\">", "<Your\nname>\n\nGive <Name> and List<Card x=\"1\">"),
    ],
)  # fmt: skip
def test_remarks_expressions_and_components_go(text: str, expected: str) -> None:
    assert strip_markup(text, CleaningCounts()) == expected


STATEMENT_UNITS = [
    "export const a = {\n", "export const a = '\n", "import {\n", "import a,", "export default (", "/*", "`", "\"'",
    "{/*", "{", "}", "import a from 'b'\n", "export const a = b ?\n", "<Ab\n", "<Ab=", "AbAb", "\n  .",
]  # fmt: skip


@pytest.mark.parametrize("unit", STATEMENT_UNITS)
def test_cost_of_statements_is_near_linear(unit: str) -> None:
    def work(size: int) -> None:
        for before in ("export const a = {", "<", "import "):
            strip_markup(f"Text\n\n{before}{unit * (size // len(unit))}", CleaningCounts())

    assert_near_linear(work, 3_000, 48_000)
