"""Whatever the bytes: readers and cleaning answer with documents or problems, soon, and never with an exception."""

import gzip
import io
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.cleaning.clean_document import clean_document
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts, tidy
from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest.contents import ReadOptions
from nima_cli.engine.data.ingest.readers import read_file
from nima_cli.engine.data.ingest.records.records import RecordReader
from nima_cli.engine.data.tokenizer.chunk import split_text

JSON_PARTS = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    '"',
    "\\",
    "\n",
    " ",
    '"text"',
    '"a"',
    "1",
    "-",
    "1e9",
    "null",
    "NaN",
    "\\ud800",
    '"messages"',
    '{"text": "a"}',
    '{"question": "a", "answer": "b"}',
    "\ufeff",
    "\0",
    "é",
    "\u2028",
]
MARKDOWN_PARTS = [
    "# ",
    "## x\n",
    "```",
    "~~~~\n",
    "\n",
    "\n\n",
    "    ",
    "\t",
    "- ",
    "> ",
    "|",
    "---\n",
    "+++\n",
    "title: x\n",
    "<!--",
    "-->",
    "<pre>",
    "</pre>",
    "<div>",
    "</a>",
    "<br/>",
    "{{< note >}}",
    "{{< text a >}}\n",
    "{{< /text >}}\n",
    "{{%",
    "%}}",
    ":::\n",
    "`",
    "[a](b)",
    "](",
    "word ",
    "é",
    "\r\n",
    "\r",
    "\x1b",
    "\ufdd0",
    "import a from 'b'\n",
    "<Tabs>\n",
    "=====\n",
]
JSON = st.one_of(
    st.lists(st.sampled_from(JSON_PARTS), max_size=40).map(lambda parts: "".join(parts).encode()),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["text", "messages", "role", "content", "question", "answer"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
)
MARKDOWN = st.lists(st.sampled_from(MARKDOWN_PARTS), max_size=40).map("".join)


def mangled(data: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The bytes as they are, packed, packed and cut, or in UTF-16."""
    changes: list[Callable[[bytes], bytes]] = [
        bytes,
        gzip.compress,
        lambda b: gzip.compress(b)[:-3],
        lambda b: b"\xff\xfe" + b,
        lambda b: b[: len(b) // 2],
    ]
    return st.builds(lambda value, change: change(value), data, st.sampled_from(changes))


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".md", ".json.gz", ""])
@given(mangled(JSON), st.sampled_from(["auto", "qa", "chat", "doc"]))
@settings(max_examples=250)
def test_readers_of_records(suffix: str, data: bytes, format_: str) -> None:
    inner = suffix.removesuffix(".gz")
    values, kind = read_file(ReadOptions(format_), inner, io.BytesIO(data), "x", gzipped=inner != suffix)
    records = RecordReader("auto" if kind else format_, 0)
    for value in values:
        assert isinstance(value, Diagnostic) or value.where.startswith("x")
        if isinstance(value, Diagnostic):
            assert "\n" not in str(value)
        elif kind is None:
            result = records.convert(value.value, value.where)
            assert isinstance(result, Document | Diagnostic)
            if isinstance(result, Document):
                (result.text + "".join(turn.content for turn in result.turns)).encode()


@given(MARKDOWN, st.booleans(), st.integers(8, 60))
@settings(max_examples=400)
def test_markdown_is_refined_and_split_without_loss(text: str, links: bool, limit: int) -> None:
    config = DataConfig(keep_links=links)
    refined = clean_document(Document("markdown", 0, "x", text=text), config, CleaningCounts()).text
    assert "\r" not in refined
    assert tidy(refined, "markdown", CleaningCounts()) == refined
    assert "".join(piece.text for piece in split_text(refined, "markdown", len, limit)) == refined


@given(st.binary(max_size=200))
@settings(max_examples=250)
def test_bytes_read_as_text_are_text_or_a_problem(data: bytes) -> None:
    values, kind = read_file(ReadOptions("markdown", encoding="cp1252"), ".md", io.BytesIO(data), "x")
    for value in values:
        assert kind == "markdown" or (isinstance(value, Diagnostic) and value.reason == "binary")
        assert isinstance(value, Diagnostic) or value.value.encode("utf-8") is not None
