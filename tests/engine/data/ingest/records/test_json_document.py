"""JSON is read as a stream: the same wherever its blocks end, in memory that its size does not change."""

import io
import json
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.engine.data.diagnostics import Diagnostic, UnusableError
from nima_cli.engine.data.ingest import encoding
from nima_cli.engine.data.ingest.encoding import DecodedValue
from nima_cli.engine.data.ingest.records import json_document
from nima_cli.engine.data.ingest.records.json_document import read_json

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)
PARTS = [
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
    '"a"',
    "1",
    "-",
    "e5",
    "null",
    "NaN",
    "\\u00e9",
    "é",
    "😀",
]


def read(data: str | bytes, *, block: int = 2**18, largest: int = 2**24) -> list[DecodedValue | Diagnostic]:
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_BLOCK", block)
        patch.setattr(json_document, "MAX_RECORD_BYTES", largest)
        found: list[DecodedValue | Diagnostic] = []
        try:
            found.extend(read_json(lambda: io.BytesIO(raw), "x"))
        except UnusableError as error:
            found.append(error.at("x"))
        return found


def shown(items: list[DecodedValue | Diagnostic]) -> list[str]:
    """As text, in which NaN equals NaN."""
    return [repr(item) for item in items]


@given(JSON, st.sampled_from([None, 2]), st.booleans())
def test_a_list_gives_what_the_standard_library_gives(value: object, indent: int | None, escaped: bool) -> None:
    text = json.dumps([value, value], indent=indent, ensure_ascii=escaped)
    found = read(text, block=7)
    assert [item.value for item in found if isinstance(item, DecodedValue)] == [value, value]
    second = 1 if indent is None else 2 + (text.count("\n") - 1) // 2
    assert found[1].where == f"x:{second} (record 2)"


@given(st.lists(st.sampled_from(PARTS), max_size=30).map("".join), st.integers(1, 9))
@settings(max_examples=500)
def test_where_blocks_end_makes_no_difference(text: str, block: int) -> None:
    for document in (text, f"[{text}]", f'{{"a": 1, "b": [{text}]}}'):
        assert shown(read(document, block=block)) == shown(read(document))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ('[\n {"a": 1},\n {"b": tru}\n]', "x:3:8: expected value"),
        ('[{"a": 1}\n {"b": 2}]', "x:2:2: expected `,` or `]` after a record"),
        ('[{"a": 1}] [', "x:1:12: more after the end of the list"),
        ('["\\u12', "x:1:4: invalid \\uXXXX escape"),
        ('[{"a": "b', "x:1:8: unterminated string starting at"),
        ('{"a": [1]} x', "x:1:12: more after the end of the document"),
        ('{"a": 1}\n{"a": 2}', "x:2:1: looks like JSON Lines, not JSON"),
        ('{"a": 1, "a": []}', "x: key `a` occurs twice"),
        ('{"a" 1}', "x:1:6: expected ':' delimiter"),
        ('{"a": 1 "b": []}', "x:1:9: expected ',' delimiter"),
        ('{"a": [1], b: 1}', "x:1:12: expected property name enclosed in double quotes"),
        ('{"a": [1], "b": [2]}', "x: expected a list of objects, found object with 2 lists"),
        ('{"a": {"b": [1]}}', "x: expected a list of objects, found object"),
        ("true", "x: expected a list of objects, found true or false"),
    ],
)
def test_errors_name_their_place(document: str, says: str) -> None:
    for block in (1, 4, 2**18):
        *_, last = read(document, block=block)
        assert str(last) == says


def test_a_character_that_is_cut_off_is_named() -> None:
    [problem] = read(b'["a\xc3', block=2)
    assert str(problem) == "x: byte 0xc3 at offset 3 (line 1) is not UTF-8"


def test_the_list_of_an_object_may_come_after_anything() -> None:
    text = json.dumps({"version": 3, "about": {"tags": ["x"]}, "data": [{"text": "one"}, {"text": "two"}], "end": None})
    one, two = {"text": "one"}, {"text": "two"}
    assert read(text, block=5) == [DecodedValue("x:1 (record 1)", one), DecodedValue("x:1 (record 2)", two)]


def test_a_refused_record_inside_an_object_costs_only_itself() -> None:
    assert shown(read('{"data": [{"a": 1, "a": 2},\n {"b": 1}]}')) == shown(
        [Diagnostic("x:1 (record 1)", "key `a` occurs twice", "malformed"), DecodedValue("x:2 (record 2)", {"b": 1})]
    )


HUGE = {
    "a string": json.dumps('x \\" ], } \\\\' * 40),
    "an object": json.dumps({"text": ['" ] }', {"a": '\\"'}] * 30}),
    "a list": json.dumps([[["]"]]] * 100),
    "a number": "1" * 500,
}


@pytest.mark.parametrize("huge", HUGE)
@pytest.mark.parametrize("block", [1, 13, 2**18])
def test_reading_goes_on_after_a_record_that_is_too_large(huge: str, block: int) -> None:
    found = read(f'[{{"a": 1}},\n{HUGE[huge]} ,\n{{"b": 2}}]', block=block, largest=100)
    assert [(item.where, getattr(item, "reason", "")) for item in found] == [
        ("x:1 (record 1)", ""),
        ("x:2 (record 2)", "too_large"),
        ("x:3 (record 3)", ""),
    ]


def test_an_object_that_holds_something_huge_and_no_list_is_refused() -> None:
    [problem] = read('{"a": "' + "x" * 1000 + '"}', largest=100)
    assert isinstance(problem, Diagnostic)
    assert (problem.reason, problem.where) == ("no_records", "x")


class Generated(io.RawIOBase):
    """A file of `size` records that exists only while it is read."""

    def __init__(self, opening: bytes, size: int) -> None:
        self._parts = self._generate(opening, size)
        self._rest = b""

    @staticmethod
    def _generate(opening: bytes, size: int) -> Iterator[bytes]:
        yield opening
        record = json.dumps({"text": 'words, words [and] "more" words\n' * 30}).encode()
        for _ in range(size - 1):
            yield record + b",\n"
        yield record + b"]" + b"}" * opening.count(b"{")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        data = self._rest or next(self._parts, b"")
        used = data[: len(buffer)]
        self._rest = data[len(used) :]
        buffer[: len(used)] = used
        return len(used)


@pytest.mark.parametrize("opening", [b"[", b'{"about": 1, "data": ['])
def test_memory_does_not_follow_the_size_of_the_file(opening: bytes) -> None:
    def peak(size: int) -> int:
        opened: Callable[[], io.BufferedIOBase] = lambda: io.BufferedReader(Generated(opening, size))  # noqa: E731
        tracemalloc.start()
        assert sum(isinstance(item, DecodedValue) for item in read_json(opened, "x")) == size
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(20_000) < 1.2 * peak(1_000)  # 20 MB and 1 MB
