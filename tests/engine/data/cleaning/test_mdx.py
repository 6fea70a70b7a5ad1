"""Imports and exports of MDX go with all their lines; code and sentences that begin like them stay."""

import pytest

from nima_cli.engine.data.cleaning.markup import strip_markup
from nima_cli.engine.data.cleaning.mdx import without_statements
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
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


UNITS = ["export const a = {\n", "export const a = '\n", "import {\n", "import a,", "export default (", "/*", "`",
         "\"'", "{/*", "{", "}", "import a from 'b'\n", "export const a = b ?\n", "<Ab\n", "<Ab=",
         "AbAb", "\n  ."]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_cost_is_near_linear(unit: str) -> None:
    def work(size: int) -> None:
        for before in ("export const a = {", "<", "import "):
            strip_markup(f"Text\n\n{before}{unit * (size // len(unit))}", CleaningCounts())

    assert_near_linear(work, 3_000, 48_000)
