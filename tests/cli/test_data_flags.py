"""`--field` and `--format` as users give them, and what is said when records need them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunCli

FAQ = [
    {"Question": f"What does part {n} of the machine do?", "meta": {"reply": f"It moves belt {n}."}} for n in range(6)
]


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def metadata(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "dataset_metadata.json").read_text("utf-8"))
    return loaded


def shown(out: Path) -> str:
    return "".join((out / f"{split}.txt").read_text("utf-8") for split in ("train", "val", "test"))


def test_what_is_wrong_with_every_record_is_one_line_that_says_which_flags_to_try(
    run_cli: RunCli, tmp_path: Path
) -> None:
    lines(tmp_path / "faq.jsonl", FAQ)
    ran = run_cli("data", "prepare", "--output-dir", "out", "--jsonl-files", "faq.jsonl", cwd=tmp_path)
    assert ran.code == 2
    said = [line for line in ran.stderr.splitlines() if line.startswith(("error", "hint", "faq", "and"))]
    assert said == [
        "error: faq.jsonl:1: no known kind of record; keys found: `Question`, `meta` (and 5 more records like it)",
        "hint: map its keys: `--field question=Question --field answer=meta.reply` (in a config: `data.fields: "
        "{question: Question, answer: meta.reply}`)",
    ]


def test_keys_are_mapped_by_flags_configs_and_sources(run_cli: RunCli, tmp_path: Path) -> None:
    lines(tmp_path / "faq.jsonl", FAQ)
    (tmp_path / "faq.json").write_text(json.dumps(FAQ))
    mapping = "{question: Question, answer: meta.reply}"
    (tmp_path / "all.yaml").write_text(f"data:\n  fields: {mapping}\n  sources: [{{path: faq.json}}]\n")
    source = f"{{path: faq.jsonl, fields: {mapping}}}"
    (tmp_path / "one.yaml").write_text(f"data:\n  fields: {{question: Nothing}}\n  sources: [{source}]\n")
    flags = ("--field", "question=Question", "--field", "answer=meta.reply")
    texts = set()
    for given in (("--jsonl-files", "faq.jsonl", *flags), ("-c", "all.yaml"), ("-c", "one.yaml")):
        ran = run_cli("data", "prepare", "--output-dir", "out", "--overwrite", "--dedup", "off", *given, cwd=tmp_path)
        assert ran.code == 0, ran.stderr
        assert "not used" not in ran.stderr
        texts.add(shown(tmp_path / "out").replace("faq.jsonl", "faq.json"))
    [text] = texts
    assert "<|user|>\nWhat does part 3 of the machine do?\n<|assistant|>\nIt moves belt 3.\n" in text


def test_another_mapping_is_another_dataset(run_cli: RunCli, tmp_path: Path) -> None:
    lines(tmp_path / "faq.jsonl", [{"question": f"Why {n}?", "a": f"{n}" * 30, "b": "no"} for n in range(6)])
    flags = ("data", "prepare", "--output-dir", "out", "--jsonl-files", "faq.jsonl", "--dedup", "off")
    assert run_cli(*flags, "--field", "answer=a", cwd=tmp_path).code == 0
    assert metadata(tmp_path / "out")["options"]["fields"] == {"answer": "a"}
    assert "already prepared" in run_cli(*flags, "--field", "answer=a", cwd=tmp_path).stderr
    other = run_cli(*flags, "--field", "answer=b", cwd=tmp_path)
    assert other.code == 2
    assert "`fields`" in other.stderr


@pytest.mark.parametrize(
    ("flags", "says", "hint"),
    [
        (("--field", "question"), "--field question: expected `KEY=NAME`", "--field question=Question"),
        (("--field", "text=a", "--field", "text=b"), "--field text=b: `text` is given twice", ""),
        (("--field", "quesiton=Q"), "--field: `data.fields`: `quesiton` is no key of records that nima knows", ""),
        (
            ("--field", "title=Heading"),
            "data.fields: `title`: no record has the key `Heading`; keys found: `text`, `url`",
            "",
        ),
        (
            ("--field", "title=Heading", "--on-error", "skip"),
            "data.fields: `title`: no record has the key `Heading",
            "",
        ),
        (("--format", "json"), "--format json: expected one of `qa`, `chat`, `doc`, `auto`", "leave it out"),
        (("--format", "sharegpt"), "--format sharegpt: expected one of", "did you mean `--format chat`?"),
        (("--format", "dock"), "--format dock: expected one of", "did you mean `--format doc`?"),
    ],
)
def test_flags_that_mean_nothing_are_refused(
    run_cli: RunCli, tmp_path: Path, flags: tuple[str, ...], says: str, hint: str
) -> None:
    lines(tmp_path / "x.jsonl", [{"text": f"word {n} " * 9, "url": ""} for n in range(6)])
    ran = run_cli("data", "prepare", "--output-dir", "out", "--jsonl-files", "x.jsonl", *flags, cwd=tmp_path)
    assert ran.code == 2
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith(f"error: {says}")
    assert hint in ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", ["qa", "doc"])
def test_a_format_without_records_is_refused(run_cli: RunCli, tmp_path: Path, given: str) -> None:
    (tmp_path / "a.md").write_text("# Title\n")
    ran = run_cli("data", "prepare", "--output-dir", "out", "--text-files", "a.md", "--format", given, cwd=tmp_path)
    assert ran.code == 2
    assert f"--format {given}: applies to no file; it is for `--json-files` and `--jsonl-files`" in ran.stderr
    assert f"--source PATH,format={given}" in ran.stderr


def test_a_key_that_some_sources_have_may_be_named_for_all(run_cli: RunCli, tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", FAQ)
    lines(tmp_path / "b.jsonl", [{"question": f"Where is part {n}?", "answer": f"In hall {n}."} for n in range(6)])
    ran = run_cli(
        "data", "prepare", "--output-dir", "out", "--jsonl-files", "a.jsonl", "b.jsonl", "--dedup", "off",
        "--field", "question=Question", "--field", "answer=meta.reply", "--min-length", "5", cwd=tmp_path,
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    assert [source["kept"] for source in metadata(tmp_path / "out")["sources"]] == [6, 6]


def test_what_was_met_in_messages_is_noted_once(run_cli: RunCli, tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "a.png"}}
    records = [
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": f"What is {n}?"}, image], "name": "Ann"},
                {"role": "assistant", "content": f"It is number {n} of the list of all parts."},
            ]
        }
        for n in range(6)
    ]
    lines(tmp_path / "x.jsonl", records)
    ran = run_cli("data", "prepare", "--output-dir", "out", "--jsonl-files", "x.jsonl", "--dedup", "off", cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    warnings = [line for line in ran.stderr.splitlines() if "x.jsonl: " in line]
    assert warnings == [
        "warning: x.jsonl: keys not used: `messages[].name`",
        "warning: x.jsonl: parts of messages that are no text, left out: 6 (`image_url`)",
    ]


def test_a_number_that_python_was_told_not_to_convert_is_too_long(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a", "n": ' + "1" * 1000 + "}\n")
    flags = ("data", "prepare", "--output-dir", "out", "--jsonl-files", "x.jsonl")
    ran = run_cli(*flags, cwd=tmp_path, env={"PYTHONINTMAXSTRDIGITS": "640"})
    assert ran.code == 2
    assert "error: x.jsonl:1: a number of 1000 digits is too long" in ran.stderr


def test_messages_of_no_weight_are_shown(run_cli: RunCli, tmp_path: Path) -> None:
    records = [
        {
            "messages": [
                {"role": "user", "content": f"How wide is shelf {n}?"},
                {"role": "assistant", "content": f"Wrong: {n} cm.", "weight": 0},
                {"role": "user", "content": "Are you sure?"},
                {"role": "assistant", "content": f"Right: {n * 2} cm."},
            ]
        }
        for n in range(6)
    ]
    lines(tmp_path / "x.jsonl", records)
    run_cli("data", "prepare", "--output-dir", "out", "--jsonl-files", "x.jsonl", "--dedup", "off", cwd=tmp_path)
    shown = run_cli("data", "inspect", "out", "--samples", "1", cwd=tmp_path).stdout
    assert "every token, but for 6 messages of weight 0" in shown
    [view] = run_cli("data", "inspect", "out", "--samples", "1", "--json", cwd=tmp_path).json()["shown"]
    without = "".join(segment["text"] for segment in view["segments"] if not segment["carries_loss"])
    assert without.startswith("<|bos|><|assistant|>Wrong")
