"""Source code becomes a fence under the name of its file, byte for byte."""

import pytest

from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.ingest.formats.code import code_to_markdown


@pytest.mark.parametrize(
    ("name", "text", "language"),
    [
        ("a.py", "x = 1", "python"),
        ("A.CPP", "int x;", "cpp"),
        ("Dockerfile", "FROM x", "dockerfile"),
        ("run", "#!/usr/bin/env python3\nx = 1", "python"),
        ("run", "#!/bin/sh -e\nls", "bash"),
        ("run", "#!/usr/bin/env -S node --flag\nf()", "javascript"),
        ("notes", "words", ""),
    ],
)
def test_the_language_is_told_by_name_or_first_line(name: str, text: str, language: str) -> None:
    assert code_to_markdown(text, name) == f"# {name}\n\n```{language}\n{text}\n```\n"


def test_code_is_kept_byte_for_byte() -> None:
    code = "def f():\n\treturn '```'  \n\n\n\nx = 1"
    assert code_to_markdown(f"\n{code}\n\n".replace("\n", "\r\n"), "a.py") == f"# a.py\n\n````python\n{code}\n````\n"
    assert code_to_markdown(" \n", "a.py") == ""


def test_minified_code_is_refused() -> None:
    with pytest.raises(UnusableError, match="minified"):
        code_to_markdown("var a=1;" * 1000, "a.js")
    code_to_markdown("var a = 1;\n" * 1000, "a.js")
