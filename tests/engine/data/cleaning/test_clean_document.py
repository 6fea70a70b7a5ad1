"""What was refined once stays as it is when it is refined again, whatever it holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.cleaning.clean_document import clean_document
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from nima_cli.engine.data.document import Document

FRONT = ["", "---\ntitle: 1.10\n---", "---\n---", "---\nNote: a: b\n---", "+++\ntitle = 1.10\n+++"]
PARTS = [
    "Words and `code` <br>",
    "",
    "# Head",
    "- item [a](b)",
    "> quoted ![a](data:image/png;base64,xx) <https://x.y>",
    f"![a](data:image/png;base64,{'QUJD' * 80})",
    "[![a](b)](c) [two\nlines](d)",
    "[a][t] and [t]",
    "[t]: https://x.y 'z'",
    "Note[^1]\n\n[^1]: https://x.y",
    "<https://x.y>",
    "<!-- remark -->",
    "{/* remark\n\nover lines */}",
    "{props.children}",
    "import A from 'a'",
    "export const a = {\n\n    b: 1,\n}",
    "export const a = {",
    "<Tabs>",
    "</Tabs>",
    '<Card\n  title="x"\n/>',
    "<div>\n<pre>\n[a](b)\n\n</pre>\n</div>",
    ":::{tip} A title\n:class: x",
    ':::image alt-text="Words":::',
    ":::",
    "{{< note >}}",
    "{{< text sh >}}\nls\n{{< /text >}}",
    f"```html\n<img src='data:image/png;base64,{'QUJD' * 80}'>\n[a](b)  \n\n\n:::\n```",
    "    indented [a](b)",
    "| [a](b) | c |\n|---|---|\n| d | <br> |",
]


@pytest.mark.parametrize("keep_links", [True, False])
@given(st.sampled_from(FRONT), st.lists(st.sampled_from(PARTS), max_size=10))
def test_refining_twice_is_refining_once(keep_links: bool, front: str, parts: list[str]) -> None:
    config = DataConfig(keep_links=keep_links)
    text = "\n".join([front, "Text", *("\n\n" + part for part in parts)]).lstrip("\n")
    once = clean_document(Document("markdown", 0, "x.md", text=text), config, CleaningCounts())
    report = CleaningCounts()
    assert clean_document(once, config, report) == once
    assert report.links == report.data_uris == report.front_matter == 0
