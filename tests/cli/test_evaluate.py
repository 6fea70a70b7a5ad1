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


def test_the_test_split_is_the_default_and_a_table_shows_it(tiny_run: TinyRun, nima: Nima) -> None:
    found = nima("eval", "--checkpoint", tiny_run.run_dir / "checkpoint_last.pt", "--json").json()
    assert (found["split"], found["step"]) == ("test", 12)
    shown = nima("eval", "--checkpoint", tiny_run.run_dir / "checkpoint_last.pt")
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


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--split", "dev"), 2, "--split dev"),
        (("--device", "tpu"), 2, "--device tpu"),
        (("--dtype", "int9"), 2, "--dtype int9"),
        (("--data", "nowhere"), 2, "nowhere"),
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
