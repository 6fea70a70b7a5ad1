"""Each ending names the next command, and that command line is one that works."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from nima_cli.engine.checkpoint.file import load, save
from nima_cli.engine.checkpoint.files import LAST
from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima
from tests.conftest import Ran


def commands(ran: Ran) -> list[list[str]]:
    """The words of each command line in the hints, after `nima`."""
    hints = " ".join(line for line in ran.stderr.splitlines() if line.startswith("hint: "))
    return [shlex.split(line)[1:] for line in re.findall(r"`(nima [^`]+)`", hints)]


def one_step(tiny_run: TinyRun) -> tuple[str | Path, ...]:
    return ("train", "-c", tiny_run.config, "--data", tiny_run.data, "--max-steps", "1", "--output-dir", "my runs/a")


def test_prepared_data_is_inspected_and_trained_on(
    tiny_run: TinyRun, tiny_corpus: Path, nima: Nima, tmp_path: Path
) -> None:
    ran = nima("data", "prepare", "--text-files", tiny_corpus, "--output-dir", "my data", cwd=tmp_path)
    look, train = commands(ran)
    assert look == ["data", "inspect", "my data"]
    assert nima(*look, cwd=tmp_path).code == 0
    assert train == ["train", "--data", "my data"]
    flags = ("-c", tiny_run.config, "--max-steps", "1", "--output-dir", "run")
    assert nima(*train, *flags, cwd=tmp_path).code == 0


def test_a_run_that_is_done_is_measured_and_talked_to(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    ran = nima(*one_step(tiny_run), cwd=tmp_path)
    measure, talk = commands(ran)
    assert measure == ["eval", "--checkpoint", "my runs/a"]
    assert talk == ["chat", "--checkpoint", "my runs/a"]
    measured = nima(*measure, cwd=tmp_path)
    assert measured.code == 0
    compare, chat = commands(measured)
    assert compare == [*measure, "--baselines"]
    assert chat == ["chat", "my runs/a"]
    assert nima(*chat, "--once", "hello", "--max-new-tokens", "2", cwd=tmp_path).code == 0
    compared = nima(*compare, cwd=tmp_path)
    (longer,) = commands(compared)
    assert "behind" in compared.stdout
    assert longer[:4] == ["train", "--resume", "my runs/a", "--epochs"]
    assert commands(nima(*one_step(tiny_run)[:-1], "quiet", "--quiet", cwd=tmp_path)) == []


def test_a_run_that_is_complete_is_trained_longer(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    nima(*one_step(tiny_run), cwd=tmp_path)
    ran = nima("train", "--resume", "my runs/a", cwd=tmp_path)
    assert "already complete" in ran.stderr
    longer, talk = commands(ran)
    assert longer == ["train", "--resume", "my runs/a", "--max-steps", "2"]
    assert talk == ["chat", "my runs/a"]
    assert "at step 2" in nima(*longer, cwd=tmp_path).stderr


def test_a_run_that_diverged_goes_on_or_begins_again(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    hot = load(tiny_run.run_dir / "checkpoint_last.pt")
    for tensor in hot.model.values():
        tensor.fill_(3e38)
    save(tmp_path / "hot.pt", hot)
    first = nima(*one_step(tiny_run), "--max-steps", "5", "--init-from", "hot.pt", cwd=tmp_path)
    assert first.code == 5, first.stderr
    (again,) = commands(first)
    config, output = "my runs/a/config.yaml", "my runs/a-2"
    assert again == ["train", "-c", config, "--learning-rate", "0.005", "--output-dir", output]
    assert nima(*again, "--max-steps", "1", cwd=tmp_path).code == 0
    save(tmp_path / "my runs/a-2/checkpoint_last.pt", replace(load(tmp_path / output / LAST), model=hot.model))
    second = nima("train", "--resume", f"{output}/checkpoint_last.pt", "--max-steps", "5", cwd=tmp_path)
    assert second.code == 5, second.stderr
    assert commands(second) == [["train", "--resume", output, "--set", "training.max_rollbacks=2"]]


@pytest.mark.parametrize("kind", ["hf", "gguf", "safetensors"])
def test_an_export_says_who_reads_it(kind: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    ran = nima("export", tiny_run.run_dir, "--format", kind, "--output", "out/my model", cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    hints = [line for line in ran.stderr.splitlines() if line.startswith("hint: ")]
    assert "'out/my model'" in hints[0]
    assert len(hints) == 1 + (kind == "gguf"), "Ollama reads a GGUF file too"


def test_without_data_it_says_what_is_learnt_and_how_to_bring_ones_own(nima: Nima, tmp_path: Path) -> None:
    ran = nima("train", "--dry-run", cwd=tmp_path)
    assert "no data was named: learning the documentation that came with this Python" in ran.stderr
    prepare, train = commands(ran)
    assert (prepare[:2], train) == (["data", "prepare"], ["train", "--data", "data/mine"])
    assert nima("train", "--dry-run", "--quiet", cwd=tmp_path).stderr == ""


def test_the_head_of_a_run_names_its_data(tiny_run: TinyRun) -> None:
    assert f"data {tiny_run.data} (" in tiny_run.ran.stderr


def test_paths_in_the_hints_of_refusals_are_quoted(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    (tmp_path / "my docs").mkdir()
    assert "--output-dir 'my docs'" in nima("train", "--data", "my docs", cwd=tmp_path).stderr
    flags = ("--format", "gguf", "--output", "my docs")
    assert "--output 'my docs/model'" in nima("export", tiny_run.run_dir, *flags, cwd=tmp_path).stderr
