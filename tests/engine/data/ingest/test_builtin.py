"""The embedded source: real documentation, the same every time, and nothing imported for it."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nima_cli.config.data_schema import SourceConfig
from nima_cli.engine.data.diagnostics import Diagnostics
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest.builtin import builtin_documents, builtin_versions
from nima_cli.engine.data.ingest.docstrings import read_added, read_source, to_markdown
from nima_cli.engine.data.ingest.sources import open_sources
from tests.engine.data.reading import documents_of


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return list(builtin_documents(3))


def digest(documents: list[Document]) -> str:
    return hashlib.sha256("".join(f"{d.kind}{d.text}{d.turns}" for d in documents).encode()).hexdigest()


def test_size_and_kinds(documents: list[Document]) -> None:
    characters = sum(document.characters for document in documents)
    assert 3e6 < characters < 10e6
    kinds = [document.kind for document in documents]
    assert min(kinds.count("markdown"), kinds.count("qa")) > 500
    assert kinds.count("text") > 50
    assert {document.source for document in documents} == {3}


def test_known_documentation_is_there(documents: list[Document]) -> None:
    pages = {document.where: document.text for document in documents if document.kind == "markdown"}
    answers = {d.where for d in documents if d.kind == "qa"}
    shutil = pages["builtin:python-docs: shutil"]
    assert shutil.startswith("# shutil\n\n")
    assert len(answers) > 500
    everything = "\n".join(d.text + "".join(turn.content for turn in d.turns) for d in documents)
    for word in ("Recursively copy a directory tree", "torch.nn.functional", "## `arange(", "`tensor` with"):
        assert word in everything


def test_nothing_is_said_twice(documents: list[Document]) -> None:
    answers = [document.turns[1].content for document in documents if document.turns]
    assert len(set(answers)) == len(answers)
    pages = "\n".join(document.text for document in documents)
    # Some texts begin with all of another; that is for near-duplicate detection to find.
    repeated = [answer for answer in answers[::5] if len(answer) > 300 and answer in pages]
    assert len(repeated) < len(answers) / 500


def test_questions_name_what_they_ask_about(documents: list[Document]) -> None:
    for document in documents:
        if document.turns:
            question, answer = document.turns
            assert (question.role, answer.role) == ("user", "assistant")
            assert re.search(r"`[\w.]+`", question.content)
            assert len(answer.content) >= 30


@pytest.mark.torch
def test_another_process_with_another_hash_seed_builds_the_same(documents: list[Document], tmp_path: Path) -> None:
    code = (
        "import hashlib, sys\n"
        "from nima_cli.engine.data.ingest.builtin import builtin_documents\n"
        "d = list(builtin_documents(3))\n"
        "print(hashlib.sha256(''.join(f'{x.kind}{x.text}{x.turns}' for x in d).encode()).hexdigest())\n"
        "print(sorted({'torch', 'numpy', 'matplotlib', 'networkx', 'tensorboard', 'turtle'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
    )
    assert done.stdout.split("\n")[:2] == [digest(documents), "[]"]
    assert done.stderr == ""


def test_versions_name_python_and_packages() -> None:
    versions = builtin_versions()
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "numpy", "rich"} < versions.keys()


def test_it_is_a_source_like_any_other(documents: list[Document]) -> None:
    [source] = open_sources([SourceConfig(path="builtin:python-docs")])
    assert source.name == "python-docs"
    stream = documents_of(source, Diagnostics())
    assert next(stream).text == documents[0].text


def test_a_module_is_parsed_never_run(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(
        '"""What this module is about, in a line that is long enough to be taken."""\n'
        "raise SystemExit\n"
        "class Box:\n"
        '    """A box to put things into, with a description of more than sixty characters."""\n'
        "    def put(self, thing: int, *, twice: bool = False) -> None:\n"
        '        r"""Put a thing into the box; see :func:`~shop.buy` and ``twice``, or `.Box` itself.\n\n'
        "        Example::\n\n"
        "            >>> box.put(1)\n\n"
        "            >>> box\n"
        "            Box(1)\n"
        '        """\n'
        "def _private():\n"
        '    """This is private and must not be taken however long its description may be."""\n'
        "def short():\n"
        '    """Too short."""\n'
    )
    module, box, put = read_source(path, "shop.m")
    assert (module.kind, module.name, module.signature) == ("module", "shop.m", "")
    assert (box.kind, box.name, box.signature) == ("class", "shop.m.Box", "Box")
    assert (put.name, put.signature) == ("shop.m.Box.put", "Box.put(thing: int, *, twice: bool=False) -> None")
    assert put.doc == (
        "Put a thing into the box; see `shop.buy` and `twice`, or `Box` itself.\n\n"
        "Example:\n\n```python\n>>> box.put(1)\n\n>>> box\nBox(1)\n```"
    )


@pytest.mark.parametrize("source", ["def broken(:\n", "x = '\0'\n"])
def test_a_file_that_cannot_be_parsed_has_no_documentation(tmp_path: Path, source: str) -> None:
    (tmp_path / "m.py").write_text(source)
    assert read_source(tmp_path / "m.py", "m") == []


def test_documentation_with_half_a_character_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(f'"""{"long enough " * 9} \\ud800"""\n')
    assert read_source(tmp_path / "m.py", "m") == []


def test_attached_documentation(tmp_path: Path) -> None:
    (tmp_path / "docs.py").write_text(
        'common = parse_kwargs("""\n    input (Tensor): the input that is given\n        and more of it.\n""")\n'
        'add_docstr(torch.abs, r"""\nabs(input) -> Tensor\n\nThe absolute value of each element, in a set {{a}}.\n\n'
        'Args:\n    {input}\n""".format(**common))\n'
        'add_newdoc("numpy.core", "ndarray",\n    ("shape",\n'
        '    """Tuple of dimensions, a number for each of the axes that there are."""))\n'
        'add_newdoc("numpy.core", "zeros", """\n    zeros(a)\n    --\n\n    zeros(a, b)\n\n'
        '    Return a new array of the given shape and type, filled with zeros.""")\n'
        "add_docstr(torch.unknown,\n    "
        '"A documentation string with a piece that is missing {nobody_knows_this}".format(**common))\n'
        'parser.add_argument("--flag", "A string that has nothing to do with documentation strings at all")\n'
    )
    first, second, third = read_added(tmp_path / "docs.py", "torch")
    assert (first.name, first.signature) == ("torch.abs", "abs(input) -> Tensor")
    assert first.doc.startswith("The absolute value of each element, in a set {a}.")
    assert "    input (Tensor): the input that is given" in first.doc
    assert (second.name, second.doc[:5]) == ("torch.ndarray.shape", "Tuple")
    assert (third.signature, third.doc[:8]) == ("zeros(a, b)", "Return a")


def test_a_session_without_example_mark() -> None:
    assert to_markdown("x\n\n    >>> 1\n    1\n\ny") == "x\n\n```python\n>>> 1\n1\n```\n\ny"
