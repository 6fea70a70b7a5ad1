"""Every kind of bad input to `nima data prepare`, given to the real program, and what it must answer.

A row that is refused: exit code 2 (4 for the machine), the first line `error: <place>: <what>`, no traceback, nothing
written. A row that is accepted: exit code 0 and what the dataset then holds.
"""

import gzip
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from benchmarks.readable_view import ViewedDocument, read_view

from tests.conftest import RunCli

QA = {"question": "What is a pod in this system?", "answer": "A group of containers that share a host."}
GOOD = [
    {"text": text}
    for text in (
        "Pods are the smallest units that a cluster runs and replaces.",
        "Images are stored in layers, so pulling one again is quick.",
        "A lock keeps two writers from changing the same table at once.",
        "Tokens of rare languages need more bytes than English words do.",
        "Set the time limit in seconds; zero means that it never ends.",
        "Backups are tested every night by restoring them elsewhere.",
    )
]
ASK, SAY = {"role": "user", "content": "How are you today?"}, {"role": "assistant", "content": "I am well, thanks."}
Make = Callable[[Path], object]


def dump(value: object) -> str:
    return json.dumps(value)


def file(name: str, data: bytes | str) -> Make:
    return lambda folder: (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def lines(records: list[Any]) -> str:
    return "".join(f"{dump(record)}\n" for record in records)


@dataclass(frozen=True)
class Refused:
    """Row of the table: what is made in the folder, the arguments, and the answer."""

    row: str
    flags: tuple[str, ...]
    says: str
    make: Make | None = None
    hint: str = ""
    code: int = 2


def json_row(row: str, data: bytes | str, says: str, hint: str = "") -> Refused:
    return Refused(row, ("--json-files", "x.json"), says, file("x.json", data), hint)


def jsonl_row(row: str, data: bytes | str, says: str, hint: str = "") -> Refused:
    return Refused(row, ("--jsonl-files", "x.jsonl"), says, file("x.jsonl", data), hint)


def text_row(row: str, data: bytes | str, says: str, hint: str = "") -> Refused:
    return Refused(row, ("--text-files", "x.md"), says, file("x.md", data), hint)


def chat_row(row: str, messages: object, says: str, hint: str = "") -> Refused:
    return json_row(row, dump([{"messages": messages}]), says, hint)


def good_row(row: str, flags: tuple[str, ...], says: str) -> Refused:
    return Refused(row, ("--json-files", "good.json", *flags), says)


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)
        try:
            listener.bind("x.md")
        finally:
            os.chdir(here)


def _big_line(folder: Path) -> None:
    with (folder / "x.jsonl").open("wb") as stream:
        stream.write(b'{"text": "')
        for _ in range(17):
            stream.write(b"a" * 2**20)
        stream.write(b'"}\n')


def _full_folder(folder: Path) -> None:
    (folder / "x").mkdir()


REFUSED = [
    Refused("1 no such path", ("--text-files", "x.md"), "x.md: no such file or folder", hint="`--text-files`"),
    Refused("2 a glob without matches", ("--text-files", "docs/*.md"), "docs/*.md: no file matches", hint="pattern"),
    Refused("3 no input", (), "nothing to prepare from", hint="`--text-files`, `--json-files` or `--jsonl-files`"),
    Refused("4 a folder without documents", ("--text-files", "x"), "x: no documents in this folder", _full_folder),
    text_row("5 empty file", b"", "0 usable documents"),
    text_row("6 only white space", b" \n\t\n", "0 usable documents"),
    text_row("6 only a mark", b"\xef\xbb\xbf", "0 usable documents"),
    text_row(
        "7 latin-1", "Grüße\nzum \x92".encode("latin-1"), "x.md: byte 0xfc at offset 2 (line 1) is not UTF-8", "iconv"
    ),
    text_row(
        "7 later line", b"a\n" * 87 + b"Let\x92s", "x.md: byte 0x92 at offset 177 (line 88) is not UTF-8", "--encoding"
    ),
    jsonl_row(
        "7 in JSON Lines", b'{"text": "a"}\n{"text": "\xe9"}', "x.jsonl: byte 0xe9 at offset 24 (line 2)", "iconv"
    ),
    json_row("7 in JSON", b'[{"text": "\xe9"}]', "x.json: byte 0xe9 at offset 11 (line 1) is not UTF-8", "iconv"),
    text_row("7 UTF-16 without a mark", "words".encode("utf-16-le"), "x.md: looks binary (NUL at byte 1)"),
    text_row(
        "9 broken UTF-16", "words".encode("utf-16") + b"!", "x.md: byte 0x21 at offset 12 (line 1) is not UTF-16-LE"
    ),
    text_row("11 a picture", b"\x89PNG\r\n\x1a\n\0\0\0", "x.md: is a PNG picture, not text"),
    text_row("11 a PDF", b"%PDF-1.7\n\0\xff", "x.md: damaged PDF: "),
    json_row(
        "13 half a character", '[{"question": "\\ud800", "answer": "b"}]', "x.json:1 (record 1): `question` holds half"
    ),
    json_row("16 malformed JSON", '[\n {"question": "a" "answer": "b"}]', "x.json:2:19: expected ',' delimiter"),
    json_row("16 cut off", '[{"text": "a"}, {"te', "x.json:1:"),
    json_row("17 garbage after the end", f"[{dump(QA)}] x", "x.json:1:"),
    json_row("17 two documents", f"[{dump(QA)}][]", "x.json:1:"),
    json_row("17 a comma at the end", f"[{dump(QA)},]", "x.json:1:"),
    json_row("18 JSON Lines as JSON", lines([QA, QA]), "x.json:2:1: looks like JSON Lines", "`--jsonl-files`"),
    jsonl_row("18 JSON as JSON Lines", dump([QA, QA]), "x.jsonl:1: looks like one JSON document", "`--json-files`"),
    json_row("19 an object", '{"name": "x"}', "x.json: expected a list of objects, found object"),
    json_row("19 text", '"words"', "x.json: expected a list of objects, found text"),
    json_row("19 a number", "5", "x.json: expected a list of objects, found number"),
    json_row("19 one record", dump(QA), "x.json: expected a list of objects, found one record", "list"),
    json_row("20 an empty list", "[]", "0 usable documents"),
    json_row("21 a record that is null", "[null]", "x.json:1 (record 1): expected a record (an object), found null"),
    json_row("21 a record that is a list", "[[]]", "x.json:1 (record 1): expected a record (an object), found a list"),
    jsonl_row("21 a record that is a number", "5\n", "x.jsonl:1: expected a record (an object), found a number"),
    json_row(
        "22 no answer",
        '[{"question": "a", "id": 1}]',
        "x.json:1 (record 1): missing `answer`; keys found: `question`, `id`",
    ),
    json_row(
        "22 nothing known", '[{"a": 1}]', "x.json:1 (record 1): no known kind of record; keys found: `a`", "known are"
    ),
    Refused(
        "22 another format",
        ("--json-files", "x.json", "--format", "chat"),
        "x.json:1 (record 1): missing `messages`",
        file("x.json", dump([QA])),
        "`--format qa`",
    ),
    json_row("23 a number as answer", '[{"question": "a", "answer": 5}]', "x.json:1 (record 1): `answer` is a number"),
    json_row("23 null as answer", '[{"question": "a", "answer": null}]', "x.json:1 (record 1): `answer` is null"),
    json_row("23 a list as answer", '[{"question": "a", "answer": ["b"]}]', "x.json:1 (record 1): `answer` is a list"),
    json_row("26 a key twice", '[{"text": "a", "text": "b"}]', "x.json:1 (record 1): key `text` occurs twice"),
    json_row("27 NaN", '[{"text": "a", "x": NaN}]', "x.json:1 (record 1): `NaN` is not JSON"),
    json_row("27 Infinity", '[{"text": "a", "x": -Infinity}]', "x.json:1 (record 1): `-Infinity` is not JSON"),
    json_row(
        "28 a number of 5000 digits",
        '[{"text": "a", "x": ' + "7" * 5000 + "}]",
        "x.json:1 (record 1): a number of 5000 digits",
    ),
    json_row("29 nested 100,000 deep", "[" * 100_000, "x.json:1:"),
    jsonl_row("29 nested in JSON Lines", "[" * 100_000 + "]" * 100_000, "x.jsonl:1:1: nested too deeply"),
    Refused("30 one huge line", ("--jsonl-files", "x.jsonl"), "x.jsonl:1: record larger than 16 MB", _big_line),
    chat_row("32 no messages", [], "x.json:1 (record 1): `messages` is an empty list"),
    chat_row(
        "33 role robot",
        [ASK, {**SAY, "role": "robot"}],
        "x.json:1 (record 1): `messages[1].role` is `robot`, expected one of `system`, `developer`, `user`, ",
    ),
    chat_row("33 role User", [{**ASK, "role": "User"}, SAY], "x.json:1 (record 1): `messages[0].role` is `User`"),
    chat_row("34 no assistant", [ASK], "x.json:1 (record 1): `messages` has no assistant turn"),
    chat_row(
        "34 two user turns", [ASK, ASK, SAY], "x.json:1 (record 1): `messages` has two turns of one role in a row"
    ),
    chat_row("34 assistant first", [SAY, ASK, SAY], "x.json:1 (record 1): `messages` starts with an assistant turn"),
    chat_row(
        "34 system later",
        [ASK, {"role": "system", "content": "x"}, SAY],
        "x.json:1 (record 1): `messages` has a system turn that is not the first",
    ),
    chat_row(
        "33 a tool that nobody called", [ASK, {**SAY, "role": "tool"}, SAY], "x.json:1 (record 1): `messages` has an"
    ),
    chat_row(
        "35 no part is text",
        [{**ASK, "content": [{"type": "image_url", "image_url": {}}]}, SAY],
        "x.json:1 (record 1): `messages[0].content` holds no text, only parts of type `image_url`",
    ),
    json_row("40 all the same", dump([GOOD[0]] * 5), "1 usable document, and train, val and test need one each"),
    json_row("41 too few", dump(GOOD[:2]), "2 usable documents, and train, val and test need one each"),
    good_row(
        "42 all too short",
        ("--min-length", "500"),
        "0 usable documents, and train, val and test need one each "
        "(left out: 6 too short; the longest has 63 characters)",
    ),
    good_row(
        "42 all too long",
        ("--max-characters", "40"),
        "0 usable documents, and train, val and test need one each (left out: 6 too long",
    ),
    Refused(
        "43 a circular link",
        ("--text-files", "x.md"),
        "x.md: not a regular file",
        lambda f: (f / "x.md").symlink_to("x.md"),
    ),
    Refused(
        "43 a broken link", ("--text-files", "x.md"), "x.md: not a regular file", lambda f: (f / "x.md").symlink_to("y")
    ),
    Refused("43 a pipe", ("--text-files", "x.md"), "x.md: not a regular file", lambda f: os.mkfifo(f / "x.md")),
    Refused("43 a socket", ("--text-files", "x.md"), "x.md: not a regular file", _socket),
    Refused("43 a device", ("--text-files", "/dev/zero"), "/dev/zero: not a regular file"),
    Refused(
        "46 the output is a file",
        ("--json-files", "good.json", "--output-dir", "good.json"),
        "good.json: is a file, not a folder",
        code=4,
    ),
    good_row("49 vocabulary too large", ("--vocab-size", "9000"), "`vocab_size` 9000 does not fit this text"),
    good_row("49 vocabulary too small", ("--vocab-size", "100"), "--vocab-size: "),
    good_row("49 vocabulary negative", ("--vocab-size", "-5"), "--vocab-size: "),
    good_row("49 vocabulary in words", ("--vocab-size", "many"), "--vocab-size: "),
    good_row("50 length 0", ("--max-length", "0"), "--max-length: "),
    good_row("50 length -1", ("--max-length", "-1"), "--max-length: "),
    good_row("50 length beyond any model", ("--max-length", "1000000"), "--max-length: "),
    good_row(
        "51 tokenizer",
        ("--tokenizer", "xyz"),
        "--tokenizer: `data.tokenizer` must be `bpe`, `unigram` or `char`, got `xyz`",
    ),
    good_row("51 format", ("--format", "xyz"), ""),
    good_row("51 seed", ("--seed", "-1"), "--seed: "),
    Refused("51 weight 0", ("--source", "good.json,weight=0"), ""),
    Refused("51 weight negative", ("--source", "good.json,weight=-1"), ""),
    Refused("51 weight NaN", ("--source", "good.json,weight=nan"), ""),
    Refused(
        "53 a name with a line end",
        ("--text-files", "a\nb.md"),
        "command line: `data.sources[0].path`: control characters",
        file("a\nb.md", b"\xff"),
    ),
    Refused(
        "53 a name with an escape",
        ("--text-files", "\x1b[31m.md"),
        "command line: `data.sources[0].path`: control characters",
        file("\x1b[31m.md", b"\xff"),
    ),
    Refused(
        "gzip cut off",
        ("--text-files", "x.md.gz"),
        "x.md.gz: damaged gzip: ",
        file("x.md.gz", gzip.compress(b"a" * 999)[:-9]),
    ),
    Refused("gzip by name only", ("--json-files", "x.json.gz"), "x.json.gz: damaged gzip: ", file("x.json.gz", b"[]")),
    good_row("an encoding nobody knows", ("--encoding", "utf-9"), "--encoding: "),
    Refused(
        "records given as text",
        ("--text-files", "good.json"),
        "good.json: holds records, and is given as text",
        hint="`--json-files`",
    ),
    Refused("standard input twice", ("--text-files", "-", "--jsonl-files", "-"), "-: named twice"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.row)
def test_refused(run_cli: RunCli, tmp_path: Path, case: Refused) -> None:
    (tmp_path / "good.json").write_text(dump(GOOD))
    if case.make is not None:
        case.make(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    out = () if "--output-dir" in case.flags else ("--output-dir", "out")
    ran = run_cli("data", "prepare", "--workers", "1", *out, *case.flags, cwd=tmp_path, timeout=60)
    said = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert ran.code == case.code, ran.stderr
    assert said, ran.stderr
    assert said[0].startswith(f"error: {case.says}")
    assert not said[0].endswith(".")
    if case.hint:
        assert case.hint in next(line for line in ran.stderr.splitlines() if line.startswith("hint: "))
    assert "Traceback" not in ran.stderr
    assert "\x1b" not in ran.stderr
    assert ran.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@dataclass(frozen=True)
class Accepted:
    """Row of the table: what is in the file, and what a document of the dataset then says."""

    row: str
    name: str
    data: bytes | str
    holds: str
    flags: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


WORDS = "words that are long enough to be kept in the dataset"
FENCES = {
    "unclosed": f"{WORDS}\n\n```sh\n$ ls  \n\n\n\t# x",
    "four ticks": f"{WORDS}\n\n````md\n```\n#  inner  \n```\n````",
    "in a list": f"- {WORDS}\n\n  ```yaml\n  a:  \n\n\n    b: 1\n  ```",
    "tabs": f"{WORDS}\n\n```\n\tx\t\n```",
}
ACCEPTED = [
    Accepted("8 a mark in Markdown", "x.md", b"\xef\xbb\xbf# Title\n\n" + WORDS.encode(), f"# Title\n\n{WORDS}"),
    Accepted("8 a mark in JSON", "x.json", b"\xef\xbb\xbf" + dump([{"text": WORDS}]).encode(), WORDS),
    Accepted("8 a mark in JSON Lines", "x.jsonl", b"\xef\xbb\xbf" + dump({"text": WORDS}).encode(), WORDS),
    Accepted("9 UTF-16 with a mark", "x.md", f"Grüße, {WORDS}".encode("utf-16"), f"Grüße, {WORDS}"),
    Accepted("9 UTF-32 with a mark", "x.jsonl", dump({"text": WORDS}).encode("utf-32"), WORDS),
    Accepted(
        "7 a named encoding", "x.md", f"Grüße, {WORDS}".encode("cp1252"), f"Grüße, {WORDS}", ("--encoding", "cp1252")
    ),
    Accepted("10 CRLF", "x.md", f"# T\r\n\r\n{WORDS}\r\nx\r\n", f"# T\n\n{WORDS}\nx"),
    Accepted("10 CR", "x.md", f"# T\r\r{WORDS}", f"# T\n\n{WORDS}"),
    Accepted(
        "12 control characters",
        "x.txt",
        f"\x1b[31m{WORDS}\x07",
        f"\x1b[31m{WORDS}\x07",
        counts={"control_characters": 2},
    ),
    *[
        Accepted(f"14 {ord(c):04x}", "x.jsonl", f'{{"text": "{WORDS}{c}more"}}', f"{WORDS}{c}more")
        for c in "\u2028\u0085"
    ],
    Accepted("14 form feed", "x.jsonl", f'{{"text": "{WORDS}\\fmore"}}', f"{WORDS}\fmore"),
    Accepted(
        "15 invisible characters",
        "x.txt",
        f"{WORDS}\u202e\u200b",
        f"{WORDS}\u202e\u200b",
        counts={"invisible_characters": 2},
    ),
    Accepted("25 unknown keys", "x.json", dump([{"text": WORDS, "id": 7}]), WORDS),
    Accepted("27 a huge number", "x.json", f'[{{"text": "{WORDS}", "x": 1e999}}]', WORDS),
    Accepted("36 special tokens", "x.json", dump([{"text": f"<|eos|> {WORDS} <|user|>"}]), f"<|eos|> {WORDS} <|user|>"),
    Accepted(
        "37 the separator",
        "x.json",
        dump([{"text": f"{WORDS}\n<|document|> text x\n"}]),
        f"{WORDS}\n<|document|> text x",
    ),
    *[Accepted(f"38 fence {kind}", "x.md", text, text) for kind, text in FENCES.items()],
    Accepted("52 one character", "x.txt", "a" * 2**20, "a" * 2**20),
    Accepted("52 base64", "x.txt", "QUJDZGVm0123+/aZ" * 2**14, "QUJDZGVm0123+/aZ" * 2**14),
    Accepted("53 markup in a name", "[red]x.md", WORDS, WORDS),
    Accepted("53 a name like a flag", "-rf.md", WORDS, WORDS),
    Accepted("53 255 bytes", "n" * 252 + ".md", WORDS, WORDS),
    Accepted("gzip", "x.md.gz", gzip.compress(WORDS.encode()), WORDS),
]


def dataset(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "dataset_metadata.json").read_text("utf-8"))
    return loaded


def entries(folder: Path) -> list[ViewedDocument]:
    views = [(folder / f"{split}.txt").read_text("utf-8") for split in ("train", "val", "test")]
    return [entry for view in views for entry in read_view(view)]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.row)
def test_accepted(run_cli: RunCli, tmp_path: Path, case: Accepted) -> None:
    (tmp_path / "good.json").write_text(dump(GOOD))
    (tmp_path / "in").mkdir()
    file(case.name, case.data)(tmp_path / "in")
    arguments = ("--workers", "1", "--output-dir", "out", "--source", "in", "--source", "good.json")
    begin = time.monotonic()
    ran = run_cli("data", "prepare", *arguments, *case.flags, cwd=tmp_path, timeout=60)
    assert ran.code == 0, ran.stderr
    assert time.monotonic() - begin < 30
    found = entries(tmp_path / "out")
    texts = [entry.text for entry in found if entry.text and entry.text in case.holds]
    assert len(found) == len(GOOD) + len(texts)
    if len(case.holds) < 2**17:
        assert texts == [case.holds]
    else:  # a corpus by itself: a part for each split, and a gap between them
        assert len(texts) == 3
        assert 0.95 * len(case.holds) < sum(map(len, texts)) < len(case.holds)
    kept = dataset(tmp_path / "out")["cleaning"]
    assert {name: kept[name] for name in case.counts} == case.counts
    assert "\x1b" not in ran.stderr + ran.stdout


def prepared(run_cli: RunCli, folder: Path, *flags: str | Path) -> tuple[dict[str, Any], str]:
    ran = run_cli("data", "prepare", "--workers", "1", "--output-dir", "out", *flags, cwd=folder)
    assert ran.code == 0, ran.stderr
    return dataset(folder / "out"), ran.stderr


def test_row_5_an_empty_file_among_others_is_skipped_with_a_warning(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(dump(GOOD))
    (tmp_path / "empty.md").write_bytes(b"")
    kept, said = prepared(run_cli, tmp_path, "--json-files", "good.json", "--text-files", "empty.md")
    assert "warning: empty.md: empty and left out: empty.md" in said
    assert [source["dropped"] for source in kept["sources"]] == [{"empty": 1}, {}]


def test_row_24_an_empty_answer_is_dropped_and_counted(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(
        dump([{**QA, "question": f"{QA['question']} {n}"} for n in range(4)] + [{**QA, "answer": " \n"}])
    )
    kept, _ = prepared(run_cli, tmp_path, "--json-files", "x.json", "--report", "r.jsonl", "--dedup", "off")
    assert kept["sources"][0]["dropped"] == {"empty": 1}
    [row] = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert (row["source"], row["reason"]) == ("x.json", "empty")
    assert row["where"].startswith("x.json:1 (record 5)")


def test_row_39_a_file_given_twice_is_read_once_with_a_warning(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(dump(GOOD))
    (tmp_path / "link.json").symlink_to("good.json")
    kept, said = prepared(run_cli, tmp_path, "--json-files", "good.json", "./good.json", "link.json")
    assert [source["kept"] for source in kept["sources"]] == [6, 0, 0]
    assert said.count("read once: ") == 2


def test_row_47_another_dataset_is_in_the_way(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(dump(GOOD))
    prepared(run_cli, tmp_path, "--json-files", "good.json")
    before = (tmp_path / "out" / "dataset_metadata.json").read_bytes()
    other = ("--json-files", "good.json", "--max-length", "1024")
    ran = run_cli("data", "prepare", "--output-dir", "out", *other, cwd=tmp_path)
    assert ran.code == 2
    assert "`max_length` 512 -> 1024" in ran.stderr
    assert "hint: pass `--overwrite`" in ran.stderr
    assert (tmp_path / "out" / "dataset_metadata.json").read_bytes() == before


def test_bad_records_are_all_counted_or_all_skipped(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(lines([*GOOD, *[{"text": number} for number in range(25)]]))
    ran = run_cli("data", "prepare", "--output-dir", "out", "--jsonl-files", "x.jsonl", cwd=tmp_path)
    said = ran.stderr.splitlines()
    first = next(number for number, line in enumerate(said) if line.startswith("error: "))
    assert said[first] == "error: x.jsonl:7: `text` is a number, expected text (and 24 more records like it)"
    assert not (tmp_path / "out").exists()
    kept, _ = prepared(run_cli, tmp_path, "--jsonl-files", "x.jsonl", "--on-error", "skip")
    assert kept["sources"][0]["dropped"] == {"wrong_type": 25}
    (tmp_path / "none.jsonl").write_text(lines([5, 6]))
    ran = run_cli(
        "data", "prepare", "--output-dir", "o", "--jsonl-files", "none.jsonl", "--on-error", "skip", cwd=tmp_path
    )
    assert ran.code == 2
    assert "0 usable documents" in ran.stderr


def test_a_report_is_whole_or_missing(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(dump([*GOOD, {"text": "short"}, GOOD[0]]))
    common = ("data", "prepare", "--output-dir", "out", "--json-files", "good.json")
    assert run_cli(*common, "--report", "r.jsonl", "--vocab-size", "9000", cwd=tmp_path).code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.json"]
    assert run_cli(*common, "--report", "no/r.jsonl", cwd=tmp_path).code == 4
    prepared(run_cli, tmp_path, "--json-files", "good.json", "--report", "r.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert sorted((row["reason"], row["figures"].get("characters")) for row in rows) == [
        ("duplicate", None),
        ("too_short", 5.0),
    ]
    (tmp_path / "r.jsonl").unlink()
    again = run_cli(*common, "--report", "r.jsonl", cwd=tmp_path)
    assert "pass `--overwrite` to prepare again" in again.stderr
    assert not (tmp_path / "r.jsonl").exists()


def test_folders_are_walked_for_what_the_flag_says(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.md").write_text(WORDS)
    (tmp_path / "in" / "b.json").write_text(dump(GOOD[:3]))
    (tmp_path / "in" / "c.jsonl").write_text(lines(GOOD[3:]))
    (tmp_path / "more").mkdir()
    for number, text in enumerate(FENCES.values()):
        (tmp_path / "more" / f"{number}.md").write_text(text.replace(WORDS, f"{GOOD[number]['text']} And so on."))
    for flag, count in (("--text-files", 1), ("--json-files", 3), ("--jsonl-files", 3)):
        kept, _ = prepared(run_cli, tmp_path, flag, "in", "--source", "more", "--overwrite")
        assert kept["sources"][0]["kept"] == count
