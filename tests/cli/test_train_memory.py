"""A plan for more memory than there is: what is said, and that nothing is built for it."""

import json
import re
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import pytest

from nima_cli.engine.model.shape import ModelShape
from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, environment
from tests.conftest import Ran
from tests.engine.pretrained.others import write_tokenizer

LARGE_SHAPE: dict[str, Any] = {
    "vocab_size": 280, "n_layers": 24, "d_model": 1024, "n_heads": 16, "n_kv_heads": 16, "head_dim": 64, "d_ff": 4096,
    "context_length": 512, "qk_norm": False, "tie_embeddings": True, "rope_theta": 10000.0,
}  # fmt: skip
LARGE = {
    "model_type": "llama", "vocab_size": 280, "num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16,
    "intermediate_size": 4096, "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux keeps to `ulimit -v`")


def limited(home: Path, kilobytes: int, *args: str | Path) -> Ran:
    """`nima` in a process of its own that may map so much."""
    done = subprocess.run(
        ["sh", "-c", f'ulimit -v {kilobytes} && exec "$@"', "sh", sys.executable, "-m", "nima_cli", *map(str, args)],
        env=environment(home),
        capture_output=True,
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.torch
def test_a_dry_run_of_what_cannot_fit_is_a_plan_with_a_verdict(tiny_run: TinyRun, home: Path) -> None:
    arguments = ("train", "--preset", "gpt-medium", "--device", "cpu", "--data", tiny_run.data, "--dry-run")
    shown = limited(home, 2_000_000, *arguments)
    assert shown.code == 0, shown.stderr
    assert "does not fit" in shown.stdout
    assert "--set model.preset=gpt-tiny --set training.batch_size=" in " ".join(shown.stdout.split())
    assert "not measured" in shown.stdout
    plan = limited(home, 2_000_000, *arguments, "--json").json()
    assert (plan["fits"], plan["pieces"], plan["seconds"]) == (False, 0, 0.0)
    assert plan["not_measured"] == "it does not fit into memory"
    assert (plan["memory_bytes"] > 8e9, plan["recompute"]) == (True, True), "counted with layers computed twice"
    assert 0 < plan["memory_available_bytes"] < 2_000_000 * 1024
    assert plan["total_steps"] > 0


@pytest.mark.slow
def test_the_settings_that_are_offered_fit(tiny_run: TinyRun, home: Path) -> None:
    arguments = ("train", "--preset", "gpt-medium", "--device", "cpu", "--data", tiny_run.data, "--dry-run")
    plan = limited(home, 2_000_000, *arguments, "--json").json()
    sets = [f"--set={key}={value}" for key, value in plan["fitting_settings"].items()]
    again = limited(home, 2_000_000, *arguments, *sets, "--json").json()
    assert again["fits"], "what is offered fits"
    assert again["seconds"] > 0
    assert again["not_measured"] == ""


@pytest.mark.torch
def test_training_what_cannot_fit_is_refused_before_anything_is_made(
    tiny_run: TinyRun, home: Path, tmp_path: Path
) -> None:
    arguments = ("train", "--preset", "gpt-medium", "--device", "cpu", "--data", tiny_run.data)
    ran = limited(home, 2_000_000, *arguments, "--output-dir", tmp_path / "run")
    assert ran.code == 4
    assert "GB are available" in ran.stderr
    assert "`model.preset: gpt-tiny`" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_does_not_fit_at_once_is_trained_in_pieces(tiny_run: TinyRun, home: Path, tmp_path: Path) -> None:
    keys = ("--batch-size", "4096", "--max-steps", "1", "--set", "evaluation.generation.enabled=false")
    arguments = ("train", "-c", tiny_run.config, "--data", tiny_run.data, *keys)
    plan = limited(home, 1_500_000, *arguments, "--dry-run", "--json").json()
    assert (plan["fits"], plan["pieces"] > 1) == (False, True)
    assert plan["seconds"] > 0, "one piece is measured"
    ran = limited(home, 1_500_000, *arguments, "--output-dir", tmp_path / "run")
    assert ran.code == 0, ran.stderr
    assert f"going on with {4096 // plan['pieces']} rows at once instead of 4096" in ran.stderr


@pytest.mark.torch
def test_a_model_that_is_too_large_to_tune_is_refused_before_its_weights_are_read(
    tiny_corpus: Path, nima: Nima, home: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.mkdir()
    (large / "config.json").write_text(json.dumps(LARGE), "utf-8")
    write_tokenizer(large)
    write_holes(large / "model.safetensors", ModelShape(**LARGE_SHAPE))
    words = ("data", "prepare", "--output-dir", tmp_path / "data", "--text-files", tiny_corpus)
    ran = nima(*words, "--tokenizer-from", large)
    assert ran.code == 0, ran.stderr
    arguments = ("train", "--init-from", large, "--data", tmp_path / "data", "--device", "cpu")
    ran = limited(home, 2_500_000, *arguments, "--output-dir", tmp_path / "run")
    assert ran.code == 4, ran.stderr
    assert re.search(r"this run needs about [\d.]+ GB of memory .* GB are available", ran.stderr)
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "run").exists()
    ran = limited(home, 1_500_000, "generate", large, "--prompt", "x", "--device", "cpu")
    assert ran.code == 4, ran.stderr
    assert "not enough memory to load it: 402,990,080 parameters" in ran.stderr


def write_holes(path: Path, shape: ModelShape) -> None:
    """A safetensors file with a model's tensors, all zero, which take no room on the disk."""
    header, end = {}, 0
    for name, size in shape.tensors().items():
        start, end = end, end + 4 * prod(size)
        header[f"model.{name}"] = {"dtype": "F32", "shape": size, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def test_a_run_says_what_it_needs_before_its_first_step(tiny_run: TinyRun) -> None:
    said = tiny_run.ran.stderr.splitlines()
    (line,) = [number for number, text in enumerate(said) if "of memory needed" in text]
    assert "12 steps of 256 tokens; about 0.4 GB of memory needed" in said[line]
    assert line < min(number for number, text in enumerate(said) if text.startswith("step "))


@pytest.mark.parametrize("what", ["--dry-run", "--verify-resume"])
def test_the_gpu_that_is_named_is_the_one_that_is_looked_at(
    what: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    keys = ("--device", "cuda", "--set", "hardware.gpu_ids=[999]")
    ran = nima("train", "-c", tiny_run.config, "--data", tiny_run.data, *keys, what, cwd=tmp_path)
    assert ran.code == 4
    assert "GPU 999 was asked for" in ran.stderr
