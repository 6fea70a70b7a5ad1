"""`nima eval`: its figures, its output, and what it refuses."""

import math
from pathlib import Path
from shutil import copytree, move

import pytest

from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, contents, refused, rows


def test_json_holds_the_figures_of_a_split(tiny_run: TinyRun, nima: Nima) -> None:
    ran = nima("eval", "--checkpoint", tiny_run.run_dir, "--split", "val", "--dtype", "float32", "--json")
    assert ran.code == 0, ran.stderr
    found = ran.json()
    assert found.keys() == {
        "checkpoint", "data", "split", "dtype", "step", "parameters", "loss", "perplexity", "accuracy",
        "bits_per_byte", "tokens", "bytes",
    }  # fmt: skip
    (measured,) = [row for row in rows(tiny_run.run_dir, "eval") if row["step"] == found["step"]]
    for name in ("loss", "perplexity", "accuracy", "bits_per_byte", "tokens"):
        assert found[name] == pytest.approx(measured[name], rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["bits_per_byte"] == pytest.approx(found["loss"] * found["tokens"] / math.log(2) / found["bytes"])
    assert found["checkpoint"].endswith("checkpoint_best.pt")


def test_int8_says_what_8_bits_cost(tiny_run: TinyRun, nima: Nima) -> None:
    exact, rounded = (
        nima("eval", "--checkpoint", tiny_run.run_dir, "--dtype", dtype, "--json").json()
        for dtype in ("float32", "int8")
    )
    assert (exact["dtype"], rounded["dtype"]) == ("float32", "int8")
    assert exact["loss"] != rounded["loss"]
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.01)


def test_the_test_split_is_the_default_and_a_table_shows_it(tiny_run: TinyRun, nima: Nima) -> None:
    found = nima("eval", "--checkpoint", tiny_run.run_dir / "checkpoint_last.pt", "--json").json()
    assert (found["split"], found["step"]) == ("test", 12)
    shown = nima("eval", "--checkpoint", tiny_run.run_dir / "checkpoint_last.pt", "--quiet")
    assert shown.code == 0
    assert f"{found['loss']:.3f}" in shown.stdout
    assert shown.stderr == ""


def test_a_checkpoint_needs_nothing_beside_it(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    expected = nima("eval", "--checkpoint", tiny_run.run_dir, "--json").json()
    alone = tmp_path / "elsewhere.pt"
    alone.write_bytes((tiny_run.run_dir / "checkpoint_best.pt").read_bytes())
    data = tmp_path / "moved [data]"
    move(copytree(tiny_run.data, tmp_path / "copy"), data)
    ran = nima("eval", "--checkpoint", alone, "--data", data, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    same = {key: value for key, value in ran.json().items() if key not in ("checkpoint", "data")}
    assert same == {key: value for key, value in expected.items() if key not in ("checkpoint", "data")}


def test_evaluating_writes_nothing(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    before = contents(tiny_run.run_dir.parent)
    assert nima("eval", "--checkpoint", tiny_run.run_dir, cwd=tmp_path).code == 0
    assert contents(tiny_run.run_dir.parent) == before
    assert list(tmp_path.iterdir()) == []


def test_by_source_and_kind_breaks_the_same_figures_down(tiny_run: TinyRun, nima: Nima) -> None:
    whole = nima("eval", "--checkpoint", tiny_run.run_dir, "--json").json()
    ran = nima("eval", "--checkpoint", tiny_run.run_dir, "--by", "source,kind", "--json")
    assert ran.code == 0, ran.stderr
    found = ran.json()
    assert {key: value for key, value in found.items() if key != "by"} == whole
    assert list(found["by"]) == ["source", "kind"]
    assert {"prose", "question answering"} <= {row["name"] for row in found["by"]["kind"]}
    for rows_of in found["by"].values():
        for figure in ("tokens", "bytes"):
            assert sum(row[figure] for row in rows_of) == whole[figure]
        mean = sum(row["loss"] * row["tokens"] for row in rows_of) / whole["tokens"]
        assert mean == pytest.approx(whole["loss"])
        assert all(row["perplexity"] == pytest.approx(math.exp(row["loss"])) for row in rows_of)
    shown = nima("eval", "--checkpoint", tiny_run.run_dir, "--by", "kind").stdout
    assert "question answering" in shown
    assert "bits/byte" in shown
    assert "source" not in shown


def test_baselines_say_whether_it_learned_anything(tiny_run: TinyRun, nima: Nima) -> None:
    """Twelve steps teach little: a loss alone hides it (defect 22), the predictors beside it do not."""
    ran = nima("eval", "--checkpoint", tiny_run.run_dir, "--baselines", "--by", "source", "--json")
    assert ran.code == 0, ran.stderr
    found = ran.json()
    assert [one["name"] for one in found["baselines"]] == ["unigram", "5-gram", "xz", "zstd"]
    behind = [
        one["name"]
        for one in found["baselines"]
        if one["bits_per_byte"] is not None and one["bits_per_byte"] <= found["bits_per_byte"]
    ]
    assert "5-gram" in behind
    assert found["behind"] == behind
    assert found["verdict"] == f"over the whole split the model is behind {', '.join(behind)}"
    (source,) = found["by"]["source"]
    assert source["baselines"]["xz"] == pytest.approx(found["baselines"][2]["bits_per_byte"])
    shown = nima("eval", "--checkpoint", tiny_run.run_dir, "--baselines").stdout
    for words in ("did it learn?", "5-gram", found["verdict"], f"{found['baselines'][1]['bits_per_byte']:.3f}"):
        assert words in shown


def test_samples_and_questions_are_counted_checked_and_reproducible(tiny_run: TinyRun, nima: Nima) -> None:
    flags = ("eval", "--checkpoint", tiny_run.run_dir, "--samples", "3", "--questions", "2", "--dtype", "float32")
    ran = nima(*flags, "--json")
    assert ran.code == 0, ran.stderr
    found = ran.json()
    writing, answers = found["writing"], found["answers"]
    assert writing["texts"] == len(writing["samples"]) == 3
    assert [one["seed"] for one in writing["samples"]] == [0, 1, 2]
    assert sum(one["tokens"] for one in writing["samples"]) == writing["tokens"] > 0
    assert 0 <= writing["copies"]["share"] <= 1
    assert writing["copies"]["longest"] > 0
    assert writing["copies"]["held_out_longest"] > writing["copies"]["longest"]
    assert answers["asked"] == len(answers["samples"]) == 2 <= answers["held_out"]
    assert all(one["question"] and one["expected"] for one in answers["samples"])
    assert answers["f1"] == pytest.approx(sum(one["f1"] for one in answers["samples"]) / 2)
    assert nima(*flags, "--json").json() == found
    other = nima(*flags, "--seed", "7", "--json").json()
    assert [one["text"] for one in other["writing"]["samples"]] != [one["text"] for one in writing["samples"]]
    assert other["answers"] == answers
    shown = nima(*flags).stdout
    for words in ("fences closed", "YAML that parses", "copied from training", "questions asked", "token F1"):
        assert words in shown


def test_a_report_is_one_page_beside_the_table(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    ran = nima("eval", "--checkpoint", tiny_run.run_dir, "--by", "kind", "--report", "page.html", cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    assert "question answering" in ran.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "question answering" in page


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--split", "dev"), 2, "--split dev"),
        (("--device", "tpu"), 2, "--device tpu"),
        (("--dtype", "int9"), 2, "--dtype int9"),
        (("--data", "nowhere"), 2, "nowhere"),
        (("--by", "sauce"), 2, "--by sauce: expected one of `source`, `kind`"),
        (("--by", "source,"), 2, "--by : expected one of"),
        (("--baselines", "--split", "train"), 2, "--baselines"),
        (("--samples", "-1"), 2, "--samples': Input should be greater than or equal to 0"),
        (("--questions", "1001"), 2, "--questions': Input should be less than or equal to 1000"),
        (("--report", "page.pdf"), 2, "page.pdf"),
        (("--report", "nowhere/page.html"), 2, "there is no folder nowhere"),
    ],
)
def test_bad_flags(flags: tuple[str, ...], code: int, said: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    assert said in refused(nima("eval", "--checkpoint", tiny_run.run_dir, *flags, cwd=tmp_path), code)


def test_a_dataset_of_another_tokenizer_is_refused(
    tiny_run: TinyRun, tiny_corpus: Path, nima: Nima, tmp_path: Path
) -> None:
    made = nima("data", "prepare", "--output-dir", tmp_path / "d", "--text-files", tiny_corpus, "--vocab-size", "400")
    assert made.code == 0
    ran = nima("eval", "--checkpoint", tiny_run.run_dir, "--data", tmp_path / "d")
    assert "its tokenizer is not the one" in refused(ran, 2)


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut", "zeros", "folder", "empty folder"])
def test_what_is_no_checkpoint_is_refused(kind: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    path = tmp_path / f"a {kind} [thing]"
    good = (tiny_run.run_dir / "checkpoint_best.pt").read_bytes()
    data = {"empty": b"", "text": b"hello\n" * 50, "cut": good[: len(good) // 2], "zeros": bytes(4096)}
    if kind in data:
        path.write_bytes(data[kind])
    elif kind != "missing":
        path.mkdir()
        if kind == "folder":
            (path / "notes.txt").write_text("x")
    line = refused(nima("eval", "--checkpoint", path), 3)
    assert str(path) in line
    if kind == "folder":
        assert line.endswith("it holds notes.txt")


def test_a_flipped_bit_never_changes_the_figures(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    data = bytearray((tiny_run.run_dir / "checkpoint_best.pt").read_bytes())
    data[len(data) // 2] ^= 0x10
    path = tmp_path / "flipped.pt"
    path.write_bytes(data)
    assert "flipped.pt" in refused(nima("eval", "--checkpoint", path, "--data", tiny_run.data), 3)


def test_a_split_without_what_is_asked_for_is_refused(
    tiny_corpus: Path, tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    """A dataset of prose has no questions, one of questions no documents to go on with."""
    for name, pattern, flag in (("prose", "*.md", "--questions"), ("talk", "qa.json", "--samples")):
        made = nima(
            "data", "prepare", "--output-dir", tmp_path / name, "--text-files" if name == "prose" else "--json-files",
            tiny_corpus / pattern, "--tokenizer-from", tiny_run.data,
        )  # fmt: skip
        assert made.code == 0, made.stderr
        ran = nima("eval", "--checkpoint", tiny_run.run_dir, "--data", tmp_path / name, flag, "2")
        assert f"`{flag}`: this split holds no" in refused(ran, 2)
