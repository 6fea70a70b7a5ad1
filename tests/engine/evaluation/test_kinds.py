"""What each line of a document is taken for."""

import pytest

from nima_cli.engine.data.document import Kind
from nima_cli.engine.evaluation.kinds import fence_marks, line_kinds


def marked(text: str, kind: Kind = "markdown") -> list[str]:
    """`line → kind` for all lines that are not prose."""
    found = line_kinds(text, kind)
    lines = text.split("\n")
    assert len(found) == len(lines)
    return [f"{line} → {name}" for line, name in zip(lines, found, strict=True) if name != "prose"]


@pytest.mark.parametrize(
    ("info", "content", "expected"),
    [
        ("yaml", "a: 1", "yaml"),
        ("YML", "a: 1", "yaml"),
        ("bash", "ls", "command lines"),
        ("console", "$ ls", "command lines"),
        ("python", "x = 1", "code: python"),
        ("{.py}", "x = 1", "code: python"),
        ("go {hl_lines=[3]}", "x := 1", "code: go"),
        ("json", "{}", "json"),
        ("a-language-that-nobody-knows", "x", "code: other"),
        ("", "$ ls", "command lines"),
        ("", ">>> 1 + 1", "code: python"),
        ("", '{"a": [1]}', "json"),
        ("", "a:\n  - b: c\n  # why", "yaml"),
        ("", "one word", "code: other"),
        ("", "", "code: other"),
    ],
)
def test_a_fence_is_what_it_says_or_else_what_it_looks_like(info: str, content: str, expected: str) -> None:
    text = f"before\n\n```{info}\n{content}\n```\n\nafter"
    lines = [f"```{info}", *content.split("\n"), "```"]
    assert marked(text) == [f"{line} → {expected}" for line in lines]


def test_the_structure_is_that_of_the_parser() -> None:
    text = "\n".join(
        ["---", "title: x", "---", "", "# Title", "- a list", "", "  ~~~sh", "  # no heading", "  ~~~", "", "`tar -x`"]
    )
    assert marked(text) == [
        "--- → yaml",
        "title: x → yaml",
        "--- → yaml",
        "  ~~~sh → command lines",
        "  # no heading → command lines",
        "  ~~~ → command lines",
        "`tar -x` → command lines",
    ]
    assert marked("text with `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |") == []


def test_an_unclosed_fence_reaches_the_end() -> None:
    assert marked("a\n```yaml\nb: 1\n\nc: 2") == ["```yaml → yaml", "b: 1 → yaml", " → yaml", "c: 2 → yaml"]


def test_plain_text_has_the_literal_blocks_of_restructuredtext() -> None:
    text = (
        "Call it::\n\n   >>> f()\n\n   1\nDone.\n\n.. code-block:: yaml\n\n   a: 1\n"
        ".. note::\n\n   words\n```\nno fence\n```"
    )
    assert marked(text, "text") == [
        " → code: python",
        "   >>> f() → code: python",
        " → code: python",
        "   1 → code: python",
        " → yaml",
        "   a: 1 → yaml",
    ]
    assert marked("ends with::", "text") == []


def test_fence_marks() -> None:
    assert fence_marks("````Python title=x") == ("````", "python")
    assert fence_marks("> ~~~") == ("~~~", "")
    assert fence_marks("~~~ sh `x`") == ("~~~", "sh")
    assert fence_marks("`code`") == ("", "")
