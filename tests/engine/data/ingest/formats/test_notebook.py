"""Notebooks become their text and code in order; what the code put out goes."""

import json
from typing import Any

import pytest

from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.ingest.formats.notebook import notebook_to_markdown


def notebook(*cells: dict[str, Any], **metadata: Any) -> str:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)})


def test_text_and_code_without_outputs() -> None:
    text = notebook(
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "See ![plot](attachment:x.png)"]},
        {"cell_type": "code", "source": "x = 1\n\n\nprint(x)", "outputs": [{"data": {"image/png": "AAAA"}}]},
        {"cell_type": "code", "source": ""},
        {"cell_type": "code", "source": "%%bash\nls"},
        kernelspec={"language": "julia"},
    )
    julia, bash = "```julia\nx = 1\n\n\nprint(x)\n```", "```bash\n%%bash\nls\n```"
    assert notebook_to_markdown(text) == f"# Title\n\nSee plot\n\n{julia}\n\n{bash}\n"


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({"language_info": {"name": "R"}, "kernelspec": {"language": "x"}}, "r"),
        ({"kernelspec": {"language": "ipython3"}}, "python"),
        ({"kernelspec": "odd"}, "python"),
        ({"language_info": {"name": "a b`"}}, "python"),
        ({}, "python"),
    ],
)
def test_the_language_is_that_of_the_kernel(metadata: dict[str, Any], language: str) -> None:
    assert (
        notebook_to_markdown(notebook({"cell_type": "code", "source": "1"}, **metadata)) == f"```{language}\n1\n```\n"
    )


def test_version_3() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Two"]},
        {"cell_type": "code", "language": "python", "input": ["a = '```'"], "outputs": []},
    ]
    text = json.dumps({"nbformat": 3, "worksheets": [{"cells": cells[:1]}, {"cells": cells[1:]}]})
    assert notebook_to_markdown(text) == "## Two\n\n````python\na = '```'\n````\n"


def test_raw_cells() -> None:
    text = notebook(
        {"cell_type": "raw", "source": "---\ntitle: T\n---"},
        {"cell_type": "raw", "metadata": {"raw_mimetype": "text/html"}, "source": "<p>a <b>b</b>"},
        {"cell_type": "raw", "metadata": {"raw_mimetype": "text/latex"}, "source": "\\newpage"},
    )
    assert notebook_to_markdown(text) == "---\ntitle: T\n---\n\na **b**\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cells": [\n  oops]}', ":2:3 broken notebook: expecting value"),
        ('{"title": 1}', " is no notebook: it holds no `cells`"),
        ("[1]", " is no notebook: it holds no `cells`"),
        ('{"cells": 5}', " broken notebook: `cells` is no list of cells"),
        ('{"cells": [5]}', " broken notebook: `cells` is no list of cells"),
        ('{"cells": [{"cell_type": "code", "source": 5}]}', " broken notebook: the source of a cell is no text"),
        ('{"cells": [{"cell_type": "code", "source": "\\ud800"}]}', " broken notebook: a cell holds half a character"),
        ('{"cells": ' + "[" * 100_000, " broken notebook: nested too deeply, or a number too long"),
    ],
)
def test_broken_notebooks(text: str, message: str) -> None:
    with pytest.raises(UnusableError) as caught:
        notebook_to_markdown(text)
    assert f"{caught.value.place} {caught.value.what}" == message
