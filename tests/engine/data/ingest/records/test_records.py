"""Containers and record shapes: what becomes which document, and what each malformed file says, with its place."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.config.data_schema import SourceConfig
from nima_cli.config.record_keys import RECORD_KEYS
from nima_cli.engine.data.diagnostics import Diagnostics
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest import encoding
from nima_cli.engine.data.ingest.records.conversations import ROLES
from nima_cli.engine.data.ingest.records.records import RecordReader
from nima_cli.engine.data.ingest.sources import open_sources
from nima_cli.errors import DataError
from tests.engine.data.reading import documents_of
from tests.growth import assert_near_linear

QA = {"question": "What is a pod?", "answer": "A group of containers."}
ASK = {"role": "user", "content": "hi"}
SAY = {"role": "assistant", "content": "hello"}
BE = {"role": "system", "content": "be kind"}
BOTH = [("user", "hi"), ("assistant", "hello")]
CALL = {"name": "level", "arguments": '{"tank": 2}'}
CALLS = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": CALL}]}
CALLED = '<tool_call>\n{"name": "level", "arguments": {"tank": 2}}\n</tool_call>'
TOOL = {"role": "tool", "tool_call_id": "c", "content": "7"}


def read(path: Path, data: bytes | str, format_: str = "auto") -> list[Document]:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    [source] = open_sources([SourceConfig.model_validate({"path": str(path), "format": format_})])
    problems = Diagnostics()
    documents = list(documents_of(source, problems))
    problems.raise_if_any()
    return documents


def turns(document: Document) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in document.turns]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(
    ("record", "kind", "expected"),
    [
        (QA, "qa", [("user", QA["question"]), ("assistant", QA["answer"])]),
        ({"prompt": "a", "completion": "b"}, "qa", [("user", "a"), ("assistant", "b")]),
        ({"instruction": "a", "output": "b"}, "qa", [("user", "a"), ("assistant", "b")]),
        ({"instruction": "a", "input": "i", "output": "b"}, "qa", [("user", "a\n\ni"), ("assistant", "b")]),
        ({"instruction": "a", "input": "", "output": "b"}, "qa", [("user", "a"), ("assistant", "b")]),
        ({"messages": [BE, ASK, SAY]}, "chat", [("system", "be kind"), ("user", "hi"), ("assistant", "hello")]),
        ({"messages": [{**BE, "content": ""}, ASK, SAY]}, "chat", [("user", "hi"), ("assistant", "hello")]),
        (
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]},
            "chat",
            [("user", "hi"), ("assistant", "ho")],
        ),
        ({"conversations": [ASK, SAY]}, "chat", [("user", "hi"), ("assistant", "hello")]),
        (
            {"messages": [{"from": "user", "value": "hi"}, {"role": "model", "content": "ho"}]},
            "chat",
            [("user", "hi"), ("assistant", "ho")],
        ),
        (
            {"conversation": [{"role": "developer", "content": "be"}, {"role": "human", "text": "hi"}, SAY]},
            "chat",
            [("system", "be"), ("user", "hi"), ("assistant", "hello")],
        ),
        ({"system": "be", "messages": [ASK, SAY]}, "chat", [("system", "be"), ("user", "hi"), ("assistant", "hello")]),
        ({"system": "x", "messages": [BE, ASK, SAY]}, "chat", [("system", "be kind"), *BOTH]),
        ({"system": ["x"], "messages": [ASK, SAY]}, "chat", BOTH),
        ({"instruction": "a", "context": "c", "response": "b"}, "qa", [("user", "a\n\nc"), ("assistant", "b")]),
        ({"prompt": "a", "response": "b"}, "qa", [("user", "a"), ("assistant", "b")]),
        ({"question": "a", "response": "b"}, "qa", [("user", "a"), ("assistant", "b")]),
        ({"query": "a", "answer": "b"}, "qa", [("user", "a"), ("assistant", "b")]),
        ({"input": "a", "output": "b"}, "qa", [("user", "a"), ("assistant", "b")]),
        (
            {"system_prompt": "s", "question": "a", "response": "b"},
            "qa",
            [("system", "s"), ("user", "a"), ("assistant", "b")],
        ),
        ({"system": "Linux", **QA}, "qa", [("user", QA["question"]), ("assistant", QA["answer"])]),
        ({"title": "T", "body": "Body"}, "markdown", "# T\n\nBody"),
        ({"page_content": "Body", "metadata": {}}, "markdown", "Body"),
        ({"title": "On\nPods", "content": "Body\n"}, "markdown", "# On Pods\n\nBody\n"),
        ({"content": "Body"}, "markdown", "Body"),
        ({"text": "Body"}, "text", "Body"),
        ({"title": "T", "text": "Body"}, "markdown", "# T\n\nBody"),
    ],
)
def test_shapes(tmp_path: Path, suffix: str, record: dict[str, Any], kind: str, expected: Any) -> None:
    data = json.dumps([record]) if suffix == ".json" else json.dumps(record)
    [document] = read(tmp_path / f"x{suffix}", data)
    assert document.kind == kind
    assert (document.text or turns(document)) == expected


def test_places_point_at_the_record(tmp_path: Path) -> None:
    listed = read(tmp_path / "x.json", json.dumps([QA, QA], indent=1))
    assert [document.where for document in listed] == [
        f"{tmp_path}/x.json:2 (record 1)",
        f"{tmp_path}/x.json:6 (record 2)",
    ]
    lines = read(tmp_path / "x.jsonl", f"{json.dumps(QA)}\n\n{json.dumps(QA)}")
    assert [document.where for document in lines] == [f"{tmp_path}/x.jsonl:1", f"{tmp_path}/x.jsonl:3"]


def test_an_object_may_hold_the_list(tmp_path: Path) -> None:
    data = json.dumps({"version": [1][0], "note": {"a": [1]}, "data": [QA, QA]}, indent=2)
    documents = read(tmp_path / "x.json", data)
    assert [document.where.split(":")[-1] for document in documents] == ["9 (record 1)", "13 (record 2)"]


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\f", "\u2029"])
def test_unicode_line_separators_do_not_end_a_json_line(tmp_path: Path, separator: str) -> None:
    raw = f'{{"text": "before{separator}after"}}\n'.replace("\f", "\\f")
    assert [document.text for document in read(tmp_path / "x.jsonl", raw)] == [f"before{separator}after"]


@pytest.mark.parametrize(("name", "data"), [("x.md", "# T"), ("x.json", json.dumps([QA])), ("x.jsonl", json.dumps(QA))])
def test_a_byte_order_mark_is_dropped(tmp_path: Path, name: str, data: str) -> None:
    marked = read(tmp_path / name, b"\xef\xbb\xbf" + data.encode())
    assert marked == read(tmp_path / name, data)
    assert "\ufeff" not in marked[0].text


def test_literal_special_tokens_and_controls_are_data(tmp_path: Path) -> None:
    answer = "<|eos|> <|document|>\x1b[31m \u202e\u200b"
    [document] = read(tmp_path / "x.json", json.dumps([{**QA, "answer": answer}]))
    assert document.turns[1].content == answer


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
LISTED = "x.json:1 (record 1): "
BAD_FILES = [
    ("x.md", b"one\ntwo \x92 three", "x.md: byte 0x92 at offset 8 (line 2) is not UTF-8", "iconv"),
    (
        "x.txt",
        "naïve".encode("utf-16") + b"x",
        "x.txt: byte 0x78 at offset 12 (line 1) is not UTF-16-LE",
        "encoding=",
    ),
    ("x.jsonl", '{"text": "a"}\n'.encode("utf-16-be"), "looks binary (NUL at byte 0)", None),
    ("x.md", b"%PDF-1.7 \x00\xff", "x.md: damaged PDF: ", None),
    ("x.jsonl", b'{"text": "abc"}\n{"text": "\xe9"}\n', "byte 0xe9 at offset 26 (line 2)", "iconv"),
    ("x.json", '[\n {"question": "a" "answer": "b"}]', "x.json:2:19: expected ',' delimiter", None),
    ("x.json", f"[{json.dumps(QA)},]", "x.json:1:", None),
    ("x.json", f"[{json.dumps(QA)}] x", "more after the end of the list", None),
    ("x.json", f"[{json.dumps(QA)}][]", "more after the end of the list", None),
    ("x.json", f"[{json.dumps(QA)} 5]", "expected `,` or `]` after a record", None),
    ("x.json", f"[{json.dumps(QA)}", "expected `,` or `]` after a record", None),
    ("x.json", f"{json.dumps(QA)}\n{json.dumps(QA)}\n", "x.json:2:1: looks like JSON Lines", "jsonl_files="),
    ("x.jsonl", json.dumps([QA, QA]), "x.jsonl:1: looks like one JSON document", "json_files="),
    ("x.jsonl", json.dumps([QA], indent=1), "x.jsonl:1: looks like one JSON document", "json_files="),
    ("x.jsonl", json.dumps({"a": [QA]}, indent=1), "x.jsonl:1: looks like one JSON document", "json_files="),
    ("x.jsonl", f"{json.dumps(QA)} {json.dumps(QA)}", "more than one value on a line", None),
    ("x.json", '{"a": 1}', "x.json: expected a list of objects, found object", None),
    ("x.json", '{"a": [], "b": []}', "found object with 2 lists", None),
    ("x.json", '"text"', "expected a list of objects, found text", None),
    ("x.json", "5", "expected a list of objects, found number", None),
    ("x.json", json.dumps({"messages": [ASK, SAY]}), "found one record of format `chat`", "in a list"),
    ("x.json", "[null]", LISTED + "expected a record (an object), found null", None),
    ("x.json", "[5]", "found a number", None),
    ("x.json", "[[1]]", "found a list", None),
    ("x.json", "[true]", "found true or false", None),
    ("x.jsonl", '\n"a"', "x.jsonl:2: expected a record (an object), found text", None),
    ("x.json", '[{"question": "a", "question": "b", "answer": "c"}]', "key `question` occurs twice", None),
    ("x.json", '[{"text": NaN}]', "`NaN` is not JSON", None),
    ("x.json", '[{"text": -Infinity}]', "`-Infinity` is not JSON", None),
    ("x.json", f'[{{"text": "a", "n": {"9" * 5000}}}]', "a number of 5000 digits is too long", None),
    ("x.json", "[" * 100_000, "nested too deeply", None),
    ("x.jsonl", '{"text":' * 100_000, "x.jsonl:1:1: nested too deeply", None),
    ("x.json", '[{"question": "a", "answer": "\\ud800"}]', "`answer` holds half a character (`\\ud800` alone)", None),
]


@pytest.mark.parametrize(("name", "data", "what", "hint"), BAD_FILES)
def test_bad_files(tmp_path: Path, name: str, data: bytes | str, what: str, hint: str | None) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / name, data)
    [line] = caught.value.message.splitlines()
    assert line.startswith(f"{tmp_path}/{name}")
    assert what in line
    assert hint is None or hint in (caught.value.hint or "")


BAD_RECORDS = [
    ({"question": "a"}, "auto", "missing `answer`; keys found: `question`", None),
    ({"question": "a", "text": "b"}, "qa", "missing `answer`; keys found: `question`, `text`", "format=doc"),
    ({"messages": [ASK, SAY]}, "qa", "missing `question`, `answer`; keys found: `messages`", "format=chat"),
    ({"title": "a"}, "doc", "missing `content`; keys found: `title`", None),
    ({"a": 1, "b": 2}, "auto", "no known kind of record; keys found: `a`, `b`", "`messages`"),
    ({}, "auto", "keys found: none", None),
    ({**QA, "answer": 5}, "auto", "`answer` is a number, expected text", None),
    ({**QA, "answer": None}, "auto", "`answer` is null, expected text", None),
    ({**QA, "answer": True}, "auto", "`answer` is true or false, expected text", None),
    ({**QA, "answer": ["a"]}, "auto", "`answer` is a list, expected text", None),
    ({**QA, "answer": {"a": 1}}, "auto", "`answer` is an object, expected text", None),
    ({"messages": []}, "auto", "`messages` is an empty list", None),
    ({"messages": "hi"}, "auto", "`messages` is text, expected a list", None),
    ({"messages": ["hi"]}, "auto", "`messages[0]` is text, expected an object", None),
    ({"messages": [{"role": "user"}]}, "auto", "`messages[0]` has no `content`; keys found: `role`", None),
    (
        {"messages": [ASK, {**SAY, "role": "robot"}]},
        "auto",
        "`messages[1].role` is `robot`, expected one of `sys",
        None,
    ),
    ({"messages": [ASK, {**SAY, "weight": 0.5}]}, "auto", "`messages[1].weight` is 0.5, expected 0 or 1", None),
    (
        {"messages": [ASK, {**SAY, "weight": True}]},
        "auto",
        "`messages[1].weight` is true or false, expected 0 or",
        None,
    ),
    ({"messages": [ASK, {**SAY, "weight": "0"}]}, "auto", "`messages[1].weight` is text, expected 0 or 1", None),
    ({"messages": [ASK, {**SAY, "content": None}]}, "auto", "`messages[1].content` is null, expected text", None),
    ({"messages": [ASK, {"role": "assistant"}]}, "auto", "`messages[1]` has no `content`; keys found: `role`", None),
    ({"messages": [ASK, {**CALLS, "tool_calls": [{}]}]}, "auto", "`messages[1].tool_calls[0]` names no function", None),
    ({"messages": [ASK, {**CALLS, "tool_calls": "x"}]}, "auto", "`messages[1].tool_calls` is text, expected a", None),
    ({"messages": [TOOL, SAY]}, "auto", "an answer of a tool that no assistant turn called", None),
    ({"messages": [ASK, TOOL, SAY]}, "auto", "an answer of a tool that no assistant turn called", None),
    ({"messages": [ASK, CALLS, TOOL]}, "auto", "ends with what a tool answered", None),
    ({"messages": [{**ASK, "content": [IMAGE]}, SAY]}, "auto", "`messages[0].content` holds no text, only", None),
    ({"messages": [{**ASK, "content": [5]}, SAY]}, "auto", "`messages[0].content[0]` is a number, expected a", None),
    ({"Q": "a", "A": "b"}, "auto", "no known kind of record", "`data.fields: {question: Q, answer: A}`"),
    ({"data": {"Question": "a"}, "Answer": "b"}, "auto", "no known", "{question: data.Question, answer: Answer}"),
    ({"question": "a", "Reply": "b"}, "auto", "missing `answer`", "`data.fields: {answer: Reply}`"),
    ({"dialogue": [ASK, SAY]}, "auto", "no known kind of record", "`data.fields: {messages: dialogue}`"),
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, "auto", "one is preferred; keys", "{answer: chosen}"),
    ({"chosen": [ASK, SAY], "rejected": [ASK, SAY]}, "auto", "one is preferred; keys", "{messages: chosen}"),
    ({"messages": [{**ASK, "role": "User"}, SAY]}, "auto", "is `User`, expected one of", None),
    ({"messages": [ASK]}, "auto", "has no assistant turn", "in turn"),
    ({"messages": [ASK, ASK, SAY]}, "auto", "two turns of one role in a row", None),
    ({"messages": [SAY, ASK, SAY]}, "auto", "starts with an assistant turn", None),
    ({"messages": [ASK, SAY, BE]}, "auto", "system turn that is not the first", None),
    ({"messages": [ASK, SAY, ASK]}, "auto", "ends with a user turn", None),
]


@pytest.mark.parametrize(("record", "format_", "what", "hint"), BAD_RECORDS)
def test_bad_records(tmp_path: Path, record: Any, format_: str, what: str, hint: str | None) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "x.json", json.dumps([record]), format_)
    assert caught.value.message.startswith(f"{tmp_path}/{LISTED}")
    assert what in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


MAPPED = [
    ({"text": "Raw"}, {"content": "no", "Raw": "yes"}, "yes"),
    ({"question": "Q"}, {"messages": [ASK, SAY], "Q": "a", "answer": "b"}, [("user", "a"), ("assistant", "b")]),
    ({"question": "Q"}, {"question": "no", "Q": "a", "answer": "b"}, [("user", "a"), ("assistant", "b")]),
    ({"question": "Q"}, {"question": "a", "answer": "b"}, [("user", "a"), ("assistant", "b")]),
    ({"answer": "answers.text.0"}, {"question": "a", "answers": {"text": ["b"]}}, [("user", "a"), ("assistant", "b")]),
    ({"answer": "a.b"}, {"question": "a", "a.b": "b", "a": {"b": "no"}}, [("user", "a"), ("assistant", "b")]),
    ({"context": "c"}, {"question": "a", "answer": "b", "c": "c"}, [("user", "a\n\nc"), ("assistant", "b")]),
    ({"system": "s"}, {**QA, "s": "be"}, [("system", "be"), ("user", QA["question"]), ("assistant", QA["answer"])]),
    ({"messages": "chosen"}, {"prompt": "x", "chosen": [ASK, SAY], "rejected": [ASK, SAY]}, BOTH),
    ({"title": "T", "text": "d.t"}, {"T": "One", "d": {"t": "Body"}}, "# One\n\nBody"),
]


@pytest.mark.parametrize(("fields", "record", "expected"), MAPPED)
def test_keys_are_mapped(fields: dict[str, str], record: dict[str, Any], expected: Any) -> None:
    document = RecordReader("auto", 0, fields).convert(record, "x")
    assert isinstance(document, Document)
    assert (document.text or turns(document)) == expected


SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", " ", "a", "text", "\ud800", *ROLES])
MESSAGE = ["role", "from", "content", "value", "weight", "tool_calls", "function_call", "name", "arguments", "function"]
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*MESSAGE, "type", "text"]), inner),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from([*RECORD_KEYS, "chosen", "rejected", "Q", "x"]), VALUES, max_size=5),
    st.dictionaries(st.sampled_from(RECORD_KEYS), st.sampled_from(["Q", "x", "x.text", "x.0", "x.0.role"]), max_size=2),
    st.sampled_from(["auto", "qa", "chat", "doc"]),
)
@settings(max_examples=400)
def test_whatever_a_record_holds_it_is_a_document_or_a_problem(
    record: dict[str, Any], fields: dict[str, str], format_: str
) -> None:
    reader = RecordReader(format_, 0, fields)
    before = copy.deepcopy(record)
    found = reader.convert(record, "x")
    assert record == before
    if isinstance(found, Document):
        assert found.characters
        assert all(turn.weight in (0, 1) for turn in found.turns)
    else:
        assert str(found).isprintable()


def test_records_of_one_file_have_one_shape(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"record 2\): missing `question`, `answer`; keys found: `text`"):
        read(tmp_path / "x.json", json.dumps([QA, {"text": "a"}]))


def test_a_refused_record_does_not_hide_the_next_problems(tmp_path: Path) -> None:
    data = '[\n{"text": NaN},\n{"text": "a", "text": "b"},\n{"text": 5}]'
    with pytest.raises(DataError) as caught:
        read(tmp_path / "x.json", data)
    assert [line.split("x.json:")[1].split(" ")[0] for line in caught.value.message.splitlines()] == ["2", "3", "4"]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_record_has_a_largest_size(tmp_path: Path, suffix: str) -> None:
    long = json.dumps({"text": "a" * encoding.MAX_RECORD_BYTES})
    short = json.dumps({"text": "short"})
    data = f"{long}\n{short}\n" if suffix == ".jsonl" else f"[{long},\n{short}]"
    (tmp_path / f"x{suffix}").write_text(data)
    [source] = open_sources([SourceConfig(path=str(tmp_path / f"x{suffix}"))])
    problems = Diagnostics()
    assert [document.text for document in documents_of(source, problems)] == ["short"]
    with pytest.raises(DataError, match="record larger than 16 MB"):
        problems.raise_if_any()


def test_a_huge_text_comes_in_parts_and_loses_nothing(tmp_path: Path) -> None:
    text = "".join(f"paragraph {number} says è\n\n" for number in range(900_000))
    documents = read(tmp_path / "x.txt", text)
    assert len(documents) == 2
    assert "".join(document.text for document in documents) == text
    assert documents[1].where.endswith(f":{documents[0].text.count(chr(10)) + 1}")
    assert documents[0].text.endswith("\n\n")


def test_a_huge_text_without_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line larger than 16 MB"):
        read(tmp_path / "x.txt", b"a" * (encoding.MAX_RECORD_BYTES + 2))


def test_reading_is_near_linear(tmp_path: Path) -> None:
    data = {records: json.dumps([QA] * records, indent=1) for records in (1_000, 16_000)}

    def work(records: int) -> None:
        assert len(read(tmp_path / "x.json", data[records])) == records

    assert_near_linear(work, 1_000, 16_000)
