"""`nima data` as users run it: what it prints where, its exit codes, and that every flag does something."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunCli


def metadata(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "dataset_metadata.json").read_text("utf-8"))
    return loaded


def test_one_flag_takes_what_a_shell_expands(run_cli: RunCli, tiny_corpus: Path, tmp_path: Path) -> None:
    articles = sorted(tiny_corpus.glob("*.md"))
    ran = run_cli(
        "data", "prepare", "--output-dir", tmp_path / "out", "--tokenizer", "bpe", "--text-files", *articles,
        "--json-files", tiny_corpus / "qa.json", tiny_corpus / "docs.json", "--max-length", "96", "--vocab-size", "400",
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    kept = metadata(tmp_path / "out")
    assert [(source["name"], source["files"], source["kept"]) for source in kept["sources"]] == [
        (tiny_corpus.name, 8, 8), ("docs.json", 1, 16), ("qa.json", 1, 32),
    ]  # fmt: skip
    assert kept["options"]["max_length"] == 96
    assert kept["tokenizer"] == {**kept["tokenizer"], "type": "bpe", "vocab_size": 400}
    assert ran.stdout.startswith(f"{tmp_path / 'out'}: 56 documents, ")
    assert ran.stdout.count("\n") == 1
    lines = ran.stderr.splitlines()
    phases = [line.split(":")[0] for line in lines]
    assert phases == [
        "reading",
        "looking for duplicates",
        "training the tokenizer",
        "encoding",
        "looking for leaks",
        "read",
        "hint",
    ]
    assert "\x1b" not in ran.stdout + ran.stderr
    assert "\r" not in ran.stdout + ran.stderr


def test_json_is_one_object_and_quiet_is_silent(run_cli: RunCli, tiny_corpus: Path, tmp_path: Path) -> None:
    arguments = ("data", "prepare", "--output-dir", tmp_path / "out", "--source", tiny_corpus)
    result = run_cli(*arguments, "--json").json()
    assert result["documents"] == 68
    assert set(result) == {"path", "documents", "samples", "tokens", "vocab_size"}
    quiet = run_cli(*arguments, "--quiet", "--overwrite")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("flags", "key", "value"),
    [
        (("--tokenizer", "char"), "tokenizer", "char"),
        (("--min-length", "70"), "min_length", 70),
        (("--train-ratio", "0.5"), "train_ratio", 0.5),
        (("--val-ratio", "0.3", "--train-ratio", "0.4"), "val_ratio", 0.3),
        (("--seed", "9"), "seed", 9),
        (("--dedup", "off"), "dedupe", "off"),
        (("--dedup", "exact"), "dedupe", "exact"),
        (("--loss", "assistant"), "loss", "assistant"),
        (("--on-error", "skip"), "on_error", "skip"),
    ],
)
def test_each_flag_reaches_the_dataset(
    run_cli: RunCli, tiny_corpus: Path, tmp_path: Path, flags: tuple[str, ...], key: str, value: object
) -> None:
    ran = run_cli("data", "prepare", "--output-dir", tmp_path / "out", "--json-files", tiny_corpus / "qa.json", *flags)
    assert ran.code == 0, ran.stderr
    assert metadata(tmp_path / "out")["options"][key] == value


def test_a_source_has_settings_of_its_own(run_cli: RunCli, tiny_corpus: Path, tmp_path: Path) -> None:
    source = f"{tiny_corpus / 'qa.json'},format=qa,weight=2.5,name=questions"
    ran = run_cli(
        "data", "prepare", "--output-dir", tmp_path / "out", "--source", source, "--source", tiny_corpus / "docs.json"
    )
    assert ran.code == 0, ran.stderr
    second, first = metadata(tmp_path / "out")["sources"]
    assert (first["name"], first["format"], first["weight"]) == ("questions", "qa", 2.5)
    assert (second["name"], second["format"], second["weight"]) == ("docs.json", "auto", 1.0)


def test_settings_come_from_the_config_and_flags_win(run_cli: RunCli, tiny_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        f"data:\n  dir: made\n  sources:\n    - path: {tiny_corpus}\n  max_length: 64\n  min_length: 40\n", "utf-8"
    )
    ran = run_cli("data", "prepare", "-c", "c.yaml", "--max-length", "80", "--verbose", cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    options = metadata(tmp_path / "made")["options"]
    assert (options["max_length"], options["min_length"]) == (80, 40)
    assert "data.max_length: from --max-length" in ran.stderr
    assert "data.min_length: from c.yaml:6" in ran.stderr


def test_a_tokenizer_can_be_taken_from_another_dataset(
    run_cli: RunCli, tiny_corpus: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    ran = run_cli(
        "data",
        "prepare",
        "--output-dir",
        tmp_path / "out",
        "--text-files",
        tiny_corpus,
        "--tokenizer-from",
        tiny_dataset,
    )
    assert ran.code == 0, ran.stderr
    assert metadata(tmp_path / "out")["tokenizer"] == metadata(tiny_dataset)["tokenizer"]


def test_standard_input_and_a_quoted_glob_are_sources(run_cli: RunCli, tiny_corpus: Path, tmp_path: Path) -> None:
    records = "".join(f'{{"text": "record number {n} of the standard input"}}\n' for n in range(5))
    ran = run_cli(
        "data", "prepare", "--output-dir", tmp_path / "out", "--jsonl-files", "-", "--text-files",
        tiny_corpus / "**" / "*.txt", "--format", "doc", "--workers", "1", stdin=records,
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    assert sorted(source["kept"] for source in metadata(tmp_path / "out")["sources"]) == [4, 5]


# What it was given, the exit code, and what the first line on stderr says.
BAD = [
    ((), 2, "error: nothing to prepare from"),
    (("--text-files", "missing.md"), 2, "error: missing.md: no such file"),
    (("--text-files", "nothing/*.md"), 2, "error: nothing/*.md: "),
    (("--text-files", "empty.md"), 2, "error: 0 usable documents"),
    (("--text-files", "blank.md"), 2, "error: 0 usable documents"),
    (("--json-files", "same.json"), 2, "error: 1 usable document,"),
    (("--json-files", "two.json"), 2, "error: 2 usable documents"),
    (("--json-files", "good.json", "--min-length", "5000"), 2, "error: 0 usable documents"),
    (
        ("--json-files", "good.json", "--vocab-size", "9000"),
        2,
        "error: `vocab_size` 9000 does not fit this text",
    ),
    (("--json-files", "good.json", "--vocab-size", "10"), 2, "error: --vocab-size: "),
    (("--json-files", "good.json", "--vocab-size", "-5"), 2, "error: --vocab-size: "),
    (("--json-files", "good.json", "--vocab-size", "many"), 2, "error: --vocab-size: "),
    (("--json-files", "good.json", "--max-length", "0"), 2, "error: --max-length: "),
    (("--json-files", "good.json", "--max-length", "-1"), 2, "error: --max-length: "),
    (("--json-files", "good.json", "--tokenizer", "xyz"), 2, "error: --tokenizer: "),
    (("--json-files", "good.json", "--format", "xyz"), 2, "error: "),
    (("--json-files", "good.json", "--seed", "-1"), 2, "error: --seed: "),
    (("--json-files", "good.json", "--dedup", "xyz"), 2, "error: --dedup: "),
    (("--source", "good.json,weight=0"), 2, "error: "),
    (("--source", "good.json,weight=-1"), 2, "error: "),
    (("--source", "good.json,weight=nan"), 2, "error: "),
    (("--source", "good.json,wieght=2"), 2, "error: --source good.json,wieght=2: no setting `wieght`"),
    (("--source", "good.json,name=a,name=b"), 2, "error: --source good.json,name=a,name=b: `name` is given twice"),
    (("--json-files", "good.json", "--tokenizer-from", "good.json"), 3, "error: good.json: this is not a tokenizer"),
    (("--json-files", "good.json", "--tokenizer-from", "missing"), 3, "error: missing: no such file or folder"),
    (("--json-files", "good.json", "-c", "missing.yaml"), 2, "error: missing.yaml"),
]


@pytest.mark.parametrize(("flags", "code", "message"), BAD, ids=[" ".join(flags) or "nothing" for flags, _, _ in BAD])
def test_bad_input_is_one_error_and_writes_nothing(
    run_cli: RunCli, tmp_path: Path, flags: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "empty.md").write_bytes(b"")
    (tmp_path / "blank.md").write_bytes(b"\xef\xbb\xbf \n\n\t\n")
    same = {"text": "always the same document, over and over"}
    (tmp_path / "same.json").write_text(json.dumps([same] * 4))
    good = [{"text": f"document {number} of the good ones, with some words"} for number in range(6)]
    (tmp_path / "good.json").write_text(json.dumps(good))
    (tmp_path / "two.json").write_text(json.dumps(good[:2]))
    ran = run_cli("data", "prepare", "--output-dir", "out", *flags, cwd=tmp_path)
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert ran.code == code, ran.stderr
    assert len(errors) == 1
    assert errors[0].startswith(message)
    assert not errors[0].endswith(".")
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    assert not (tmp_path / "out").exists()


def test_documents_of_many_formats_and_code_when_asked(run_cli: RunCli, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(8):
        words = f"Page {number} says what service{number} does at port {8000 + number * number}, and how it is started."
        (docs / f"{number}.html").write_text(f"<nav>menu</nav><main><h1>Page {number}</h1><p>{words}</main>")
        cells = [{"cell_type": "code", "source": f"service{number} = start({number})  # {words[::-1]}", "outputs": []}]
        (docs / f"{number}.ipynb").write_text(json.dumps({"cells": cells}))
    (docs / "serve.py").write_text("def serve(port: int) -> None:\n    print('served at', port)\n")
    arguments = ("data", "prepare", "--output-dir", tmp_path / "out", "--text-files", docs, "--dedup", "off")
    ran = run_cli(*arguments)
    assert ran.code == 0, ran.stderr
    text = "".join((tmp_path / "out" / f"{split}.txt").read_text() for split in ("train", "val", "test"))
    assert "# Page 3\n\nPage 3 says" in text
    assert "```python\nservice3 = start(3)" in text
    assert "menu" not in text
    assert "serve.py" not in text
    ran = run_cli(*arguments, "--include-code", "--overwrite")
    assert ran.code == 0, ran.stderr
    text = "".join((tmp_path / "out" / f"{split}.txt").read_text() for split in ("train", "val", "test"))
    assert "# serve.py\n\n```python\ndef serve(port: int)" in text


def test_no_place_for_the_dataset_is_an_error(run_cli: RunCli, tiny_corpus: Path, tmp_path: Path) -> None:
    ran = run_cli("data", "prepare", "--text-files", tiny_corpus, cwd=tmp_path)
    assert ran.code == 2
    assert "give `--output-dir`" in ran.stderr


def test_a_place_that_cannot_be_written_ends_with_code_4(run_cli: RunCli, tiny_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/below"):
        ran = run_cli("data", "prepare", "--text-files", tiny_corpus, "--output-dir", tmp_path / place)
        assert ran.code == 4
        assert ran.stderr.startswith("error: ")


def test_other_options_need_overwrite(run_cli: RunCli, tiny_corpus: Path, tmp_path: Path) -> None:
    arguments = ("data", "prepare", "--text-files", tiny_corpus, "--output-dir", tmp_path / "out")
    assert run_cli(*arguments).code == 0
    again = run_cli(*arguments)
    assert again.code == 0
    assert "is already prepared" in again.stderr
    assert "pass `--overwrite` to redo" in again.stderr
    other = run_cli(*arguments, "--max-length", "1024")
    assert other.code == 2
    assert "`max_length` 512 -> 1024" in other.stderr
    assert "hint: pass `--overwrite`" in other.stderr
    assert run_cli(*arguments, "--max-length", "1024", "--overwrite").code == 0
    assert metadata(tmp_path / "out")["options"]["max_length"] == 1024


def test_inspect_shows_counts_lengths_and_samples_with_special_symbols(run_cli: RunCli, tiny_dataset: Path) -> None:
    ran = run_cli("data", "inspect", tiny_dataset, "--samples", "2")
    assert ran.code == 0
    assert ran.stdout.count("<|bos|>") == 2
    assert "vocabulary 512" in ran.stdout
    assert "tokens in a sample" in ran.stdout
    assert "64-127" in ran.stdout
    assert "max_length = 128" not in ran.stdout
    assert "max_length = 128" in run_cli("data", "inspect", tiny_dataset, "--verbose").stdout
    assert ran.stderr == ""
    assert "\x1b" not in ran.stdout
    assert run_cli("data", "inspect", tiny_dataset, "--samples", "0").stdout.count("<|bos|>") == 0


def test_inspect_as_json_adds_up(run_cli: RunCli, tiny_dataset: Path) -> None:
    shown = run_cli("data", "inspect", tiny_dataset, "--samples", "3", "--json").json()
    assert sum(row["samples"] for row in shown["lengths"]) == sum(
        split["samples"] for split in shown["splits"].values()
    )
    assert len(shown["shown"]) == 3
    for sample in shown["shown"]:
        assert sample["segments"][0] == {"text": "<|bos|>", "special": True, "carries_loss": False}
        assert sample["loss_tokens"] == sample["tokens"] - 1


def test_inspect_notices_damage_and_quiet_only_checks(run_cli: RunCli, tiny_dataset: Path, tmp_path: Path) -> None:
    fine = run_cli("data", "inspect", tiny_dataset, "--quiet")
    assert (fine.code, fine.stdout, fine.stderr) == (0, "", "")
    none = run_cli("data", "inspect", tmp_path)
    assert none.code == 2
    assert none.stderr.startswith(f"error: {tmp_path}: not a prepared dataset")


def test_inspect_never_prints_control_characters_of_documents(run_cli: RunCli, tmp_path: Path) -> None:
    records = [{"text": f"colour \x1b[31m number {n} and a bell \x07 in a document"} for n in range(5)]
    (tmp_path / "docs.json").write_text(json.dumps(records))
    arguments = ("data", "prepare", "--json-files", tmp_path / "docs.json", "--output-dir", tmp_path / "out")
    assert run_cli(*arguments).code == 0
    ran = run_cli("data", "inspect", tmp_path / "out")
    assert "\x1b" not in ran.stdout
    assert "\x07" not in ran.stdout
    assert "\\x1b[31m" in ran.stdout
    assert metadata(tmp_path / "out")["cleaning"]["control_characters"] == 10


@pytest.mark.parametrize("command", ["prepare", "inspect"])
def test_help_shows_examples(run_cli: RunCli, command: str) -> None:
    ran = run_cli("data", command, "--help")
    assert ran.code == 0
    assert f"nima data {command} " in ran.stdout
