"""Models that others trained, at the command line: shown, talked to, measured, and started from."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from nima_cli.config.strict_yaml import read as read_yaml
from nima_cli.engine.checkpoint.file import load
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, refused, rows
from tests.cli.test_models import naming
from tests.conftest import RunCli
from tests.engine.pretrained.hub_server import fill_cache, hub_environment
from tests.engine.pretrained.others import random_model, save_folder, save_gguf

_NAMED = os.environ.get("NIMA_TEST_SMOLLM2")
SMOLLM2 = Path(_NAMED) if _NAMED else None
FEW = ("--max-steps", "2", "--batch-size", "2", "--set", "evaluation.generation.enabled=false", "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers writes it, of a small Llama whose positions are stretched."""
    rope = {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }  # fmt: skip
    model = random_model("llama", rope_parameters=rope)
    return save_folder(model, tmp_path_factory.mktemp("others") / "Tiny Llama")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file of a small Qwen3, with matrices in 8 bits."""
    return save_gguf(random_model("qwen3"), tmp_path_factory.mktemp("others") / "tiny.Q8_0.gguf", matrices="Q8_0")


@pytest.fixture(scope="module")
def data(folder: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny corpus, prepared with the tokenizer of the folder."""
    from nima_cli.config.data_schema import DataConfig, SourceConfig
    from nima_cli.engine.data.prepare import prepare
    from nima_cli.engine.pretrained.load import inspect

    made = tmp_path_factory.mktemp("dataset")
    tokenizer = made / "bundle.model"
    tokenizer.write_bytes(inspect(folder).tokenizer_proto)
    config = DataConfig(sources=[SourceConfig(path=str(tiny_corpus))], tokenizer_from=str(tokenizer), max_length=64)
    for _ in prepare(config, made / "data", overwrite=False, workers=1):
        pass
    return made / "data"


def test_a_run_starts_from_the_weights_and_keeps_the_shape_and_the_name(
    folder: Path, data: Path, nima: Nima, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ran = nima("train", "--init-from", folder, "--data", data, "--output-dir", run, "--learning-rate", "1e-9", *FEW)
    assert ran.code == 0, ran.stderr
    settings, _ = read_yaml(run / "config.yaml")
    assert (settings["model"]["preset"], settings["model"]["pretrained"]) == (None, "Tiny Llama")
    assert settings["model"]["rope_scaling"]["kind"] == "llama3"
    tuned = load(run / "checkpoint_last.pt")
    assert tuned.shape.norm_epsilon == 1e-5
    before = nima("eval", "--checkpoint", folder, "--data", data, "--split", "val", "--json", "--device", "cpu").json()
    after = nima("eval", "--checkpoint", run, "--data", data, "--split", "val", "--json", "--device", "cpu").json()
    assert before["loss"] == pytest.approx(after["loss"], rel=2e-3)
    assert before["step"] is None


def test_a_run_needs_nothing_of_the_model_to_go_on(gguf: Path, tiny_corpus: Path, nima: Nima, home: Path) -> None:
    place = home / "work"
    place.mkdir()
    shutil.copy(gguf, place / "copy.gguf")
    (place / "tune.yaml").write_text(f"data: {{max_length: 64, sources: [{{path: '{tiny_corpus}'}}]}}\n", "utf-8")
    ran = nima("train", "-c", "tune.yaml", "--init-from", "copy.gguf", *FEW, cwd=place)
    assert ran.code == 0, ran.stderr
    run = place / "experiments" / "tune"
    (kept,) = (home / "tokenizers").iterdir()
    assert kept.read_bytes() == load(run / "checkpoint_last.pt").tokenizer_proto
    assert load_tokenizer(kept).kind == "hf"
    (place / "copy.gguf").unlink()
    kept.unlink()
    ran = nima("train", "--resume", "auto", "--max-steps", "4", cwd=place)
    assert ran.code == 0, ran.stderr
    assert [row["step"] for row in rows(run, "step")][-1] == 4
    tuned_again = nima("train", "--init-from", run, "-c", "tune.yaml", "--output-dir", "again", *FEW, cwd=place)
    assert tuned_again.code == 0, tuned_again.stderr
    assert read_yaml(place / "again" / "config.yaml")[0]["model"]["pretrained"] == "copy"


def test_a_run_without_a_name_is_called_after_its_model(folder: Path, data: Path, nima: Nima, tmp_path: Path) -> None:
    ran = nima("train", "--init-from", folder, "--data", data, *FEW, cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    assert (tmp_path / "experiments" / "Tiny Llama" / "config.yaml").is_file()


def test_the_plan_and_the_proof_of_resuming_work_with_it(folder: Path, data: Path, nima: Nima, tmp_path: Path) -> None:
    words = ("train", "--init-from", folder, "--data", data, "--json", *FEW)
    plan = nima(*words, "--dry-run", cwd=tmp_path)
    assert plan.code == 0, plan.stderr
    assert json.loads(plan.stdout)["parameters"] == sum(tensor.numel() for tensor in random_model("llama").parameters())
    assert not any("too few" in note for note in json.loads(plan.stdout)["notes"])
    verdict = nima(*words, "--verify-resume", cwd=tmp_path)
    assert verdict.code == 0, verdict.stderr
    assert json.loads(verdict.stdout)["identical"] is True
    assert list(tmp_path.iterdir()) == []


def test_settings_of_another_shape_are_refused_before_anything_is_made(
    folder: Path, data: Path, nima: Nima, tmp_path: Path
) -> None:
    words = ("train", "--init-from", folder, "--data", data, *FEW)
    for more in (("--preset", "gpt-tiny"), ("--set", "model.n_layers=3")):
        for program in ((), ("--dry-run",)):
            ran = nima(*words, *more, *program, cwd=tmp_path)
            assert f"{folder}: its model differs from this run's" in refused(ran, 2)
            assert "leave the shape out" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_tokenizer_is_refused_with_the_command_that_makes_it_right(
    folder: Path, tiny_corpus: Path, nima: Nima, tmp_path: Path
) -> None:
    words = ("--max-length", "64", "--dedup", "exact", "--json-files", tiny_corpus / "qa.json", "--format", "qa")
    ran = nima("data", "prepare", "--text-files", tiny_corpus, "--output-dir", tmp_path / "other", *words)
    assert ran.code == 0, ran.stderr
    for program in ((), ("--dry-run",)):
        ran = nima("train", "--init-from", folder, "--data", tmp_path / "other", *program, *FEW, cwd=tmp_path)
        assert f"its tokenizer is not the one of {folder}" in refused(ran, 2)
    (command,) = re.findall(r"hint: prepare it again: `nima (.*)`", ran.stderr)
    assert nima(*shlex.split(command), cwd=tmp_path).code == 0
    made = tmp_path / "other-Tiny-Llama"
    options = json.loads((made / "dataset_metadata.json").read_text("utf-8"))["options"]
    assert (options["max_length"], options["dedupe"]) == (64, "exact")
    assert nima("train", "--init-from", folder, "--data", made, *FEW, cwd=tmp_path).code == 0
    ran = nima("eval", "--checkpoint", folder, "--data", tmp_path / "other")
    assert "its tokenizer is not the one that" in refused(ran, 2)
    assert f"--tokenizer-from '{folder}'" in ran.stderr


def test_preparing_with_its_tokenizer_says_how_to_train(folder: Path, tiny_corpus: Path, nima: Nima) -> None:
    out = folder.parent / "prepared"
    ran = nima("data", "prepare", "--text-files", tiny_corpus, "--output-dir", out, "--tokenizer-from", folder)
    assert ran.code == 0, ran.stderr
    assert f"`nima train --data {out} --init-from '{folder}'`" in ran.stderr
    assert load_tokenizer(out).kind == "hf"


@pytest.mark.parametrize("which", ["folder", "gguf"])
def test_an_untuned_model_writes_and_talks(which: str, request: pytest.FixtureRequest, nima: Nima) -> None:
    model = request.getfixturevalue(which)
    ran = nima("generate", "--checkpoint", model, "--prompt", "the", "--max-new-tokens", "5", "--json", "-q")
    (completion,) = ran.json()["completions"]
    assert completion["tokens"] <= 5
    ran = nima("chat", model, "--once", "hello", "--max-new-tokens", "5")
    assert ran.code == 0, ran.stderr
    assert "this model has seen no questions" not in ran.stderr


def test_evaluating_an_untuned_model_wants_data(folder: Path, nima: Nima) -> None:
    ran = nima("eval", "--checkpoint", folder)
    assert "others trained it" in refused(ran, 2)
    assert "--tokenizer-from" in ran.stderr


@naming
def test_a_damaged_model_is_one_line_wherever_it_is_named(
    words: tuple[str, ...], folder: Path, gguf: Path, nima: Nima, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.read_bytes()[:-100])
    assert "cut.gguf" in refused(nima(*words, cut, cwd=tmp_path), 3)
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").unlink()
    assert "broken" in refused(nima(*words, broken, cwd=tmp_path), 3)


def test_weights_where_a_checkpoint_belongs_get_the_way_in(folder: Path, gguf: Path, data: Path, nima: Nima) -> None:
    ran = nima("train", "--data", data, "--resume", gguf)
    assert "looks like a GGUF file" in refused(ran, 3)
    assert f"`--init-from {gguf}`" in ran.stderr
    ran = nima("generate", "--prompt", "x", "--checkpoint", folder / "model.safetensors")
    assert "not a nima checkpoint" in refused(ran, 3)
    assert "name the folder with its `config.json`" in ran.stderr


def test_showing_a_model_reads_it_from_its_files(folder: Path, gguf: Path, nima: Nima) -> None:
    facts = nima("models", "show", folder, "--json").json()
    assert (facts["name"], facts["format"], facts["layout"]) == ("Tiny Llama", "hf", "llama")
    assert facts["chat_template"].startswith("{% for m in messages %}")
    assert facts["licence"] is None
    assert facts["tokenizer"]["tokens"] == 261
    assert [way["way"] for way in facts["training"]] == ["full", "lora"]
    facts = nima("models", "show", gguf, "--json").json()
    assert (facts["layout"], facts["licence"]) == ("qwen3", "mit")
    assert list(facts["stored_types"]) == ["Q8_0", "F32"]
    shown = nima("models", "show", folder, "--verbose").stdout
    assert "{% for m in messages %}" in shown
    assert "the files do not say" in shown


def test_showing_a_run_tells_what_it_was_made_from(tiny_run: TinyRun, nima: Nima) -> None:
    facts = nima("models", "show", tiny_run.run_dir, "--json").json()
    assert (facts["format"], facts["step"], facts["parameters"]) == ("nima", facts["best"]["step"], 43_232)
    assert [way["way"] for way in facts["training"]] == ["full"]
    assert "43,232" in nima("models", "show", tiny_run.run_dir).stdout


def test_a_model_in_the_hubs_cache_is_used_offline(folder: Path, run_cli: RunCli, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    fill_cache(tmp_path, "tiny-org/Tiny", files)
    offline = hub_environment("http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1")
    ran = run_cli("generate", "hf:tiny-org/Tiny", "--prompt", "the", "--max-new-tokens", "3", "-q", env=offline)
    assert ran.code == 0, ran.stderr
    ran = run_cli("models", "get", "hf:tiny-org/Tiny", "--json", env=offline)
    assert ran.json()["was_here"] is True


@pytest.mark.skipif(SMOLLM2 is None, reason="NIMA_TEST_SMOLLM2 names no GGUF file of SmolLM2-135M-Instruct in Q4_1")
def test_the_model_that_a_package_index_has_is_known_and_answers(nima: Nima, home: Path) -> None:
    assert SMOLLM2 is not None
    place = home / "models" / "smollm2-135m"
    place.mkdir(parents=True)
    (place / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(SMOLLM2)
    got = nima("models", "get", "smollm2-135m", "--json").json()
    assert got == {"name": "smollm2-135m", "path": str(place / SMOLLM2.name), "was_here": True}
    facts = nima("models", "show", "smollm2-135m", "--json").json()
    assert (facts["parameters"], facts["layout"], facts["tokenizer"]["tokens"]) == (134_515_008, "llama", 49_152)
    assert facts["shape"]["context_length"] == 8192
    full, lora = (way["memory_bytes"] for way in facts["training"])
    assert lora < 0.8 * full
    said = nima("chat", "smollm2-135m", "--once", "What is the capital of France?", "--temperature", "0")
    assert "Paris" in said.stdout
    assert "<|im_end|>" not in said.stdout
