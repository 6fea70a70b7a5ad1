"""Commands with the tokenizers of pretrained models, and what they say of those that cannot be used."""

import json
from pathlib import Path

import pytest

from nima_cli.engine.checkpoint.file import save
from nima_cli.engine.data.tokenizer.hf_file import bundle
from tests.conftest import Ran, RunCli
from tests.engine.data.hf_tokenizers import hf_files, hf_tokenizer, write_files
from tests.engine.small_models import small_checkpoint


def prepare(run_cli: RunCli, corpus: Path, out: Path, tokenizer: Path) -> Ran:
    flags = ("--text-files", corpus, "--output-dir", out, "--tokenizer-from", tokenizer, "--max-length", "128")
    return run_cli("data", "prepare", *flags)


def test_a_tokenizer_is_reused_from_a_folder_a_dataset_a_file_and_a_checkpoint(
    run_cli: RunCli, tiny_corpus: Path, tmp_path: Path
) -> None:
    folder = write_files(hf_files("smol"), tmp_path / "model")
    (tmp_path / "smol.model").write_bytes(bundle(hf_files("smol")))
    save(tmp_path / "last.pt", small_checkpoint(hf_tokenizer("smol"), vocab_size=hf_tokenizer("smol").vocab_size + 8))
    hashes = set()
    for number, named in enumerate((folder, tmp_path / "out0", tmp_path / "smol.model", tmp_path / "last.pt")):
        out = tmp_path / f"out{number}"
        done = prepare(run_cli, tiny_corpus, out, named)
        assert done.code == 0, done.stderr
        metadata = json.loads((out / "dataset_metadata.json").read_text())
        assert metadata["tokenizer"]["sha256"] == hf_tokenizer("smol").sha256
        hashes.add(metadata["files"]["train.bin"])
    assert len(hashes) == 1
    shown = run_cli("data", "inspect", tmp_path / "out0", "--samples", "1").stdout
    assert "tokenizer hf" in shown
    assert "<|endoftext|>" in shown


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("tokenizer.json", "{", "tokenizer.json is not JSON"),
        ("tokenizer.json", '{"model": {"type": "Unigram"}}', "'Unigram'"),
        ("tokenizer_config.json", "[]", "tokenizer_config.json is not a JSON object"),
        ("chat_template.jinja", "{% if %}", "its chat template (chat_template.jinja) cannot be used"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_one_line_and_code_3(
    name: str, content: str, problem: str, run_cli: RunCli, tiny_corpus: Path, tmp_path: Path
) -> None:
    folder = write_files(hf_files("smol") | {name: content}, tmp_path / "model")
    done = prepare(run_cli, tiny_corpus, tmp_path / "out", folder)
    assert done.code == 3
    error, hint = done.stderr.strip().splitlines()
    assert error.startswith(f"error: {folder}: ")
    assert problem in error
    assert hint.startswith("hint: ")
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    run_cli: RunCli, tiny_corpus: Path, tmp_path: Path
) -> None:
    folder = write_files(hf_files("smol"), tmp_path / "model")
    (tmp_path / "hiding" / "tokenizers").mkdir(parents=True)
    (tmp_path / "hiding" / "tokenizers" / "__init__.py").write_text("raise ImportError('hidden')")
    flags = ("--text-files", tiny_corpus, "--output-dir", tmp_path / "out", "--tokenizer-from", folder)
    done = run_cli("data", "prepare", *flags, env={"PYTHONPATH": f"{tmp_path / 'hiding'}:src"})
    assert done.code == 4
    assert "the package `tokenizers` is needed" in done.stderr
    assert "pip install 'nima[pretrained]'" in done.stderr


@pytest.mark.parametrize("name", ["smol", "mistral"])
def test_a_checkpoint_needs_nothing_beside_it_to_write_and_to_talk(name: str, run_cli: RunCli, tmp_path: Path) -> None:
    tokenizer = hf_tokenizer(name)
    checkpoint = small_checkpoint(tokenizer, vocab_size=tokenizer.vocab_size + 8, context_length=128)
    checkpoint.header["conversations"] = 0  # what it was tuned on; it came with a chat template all the same
    save(tmp_path / "last.pt", checkpoint)
    once = run_cli("chat", "--checkpoint", tmp_path / "last.pt", "--once", "Hi <|im_end|>", "--max-new-tokens", "8")
    assert once.code == 0, once.stderr
    assert "no questions and answers" not in once.stderr
    done = run_cli(
        "generate", "--checkpoint", tmp_path / "last.pt", "--prompt", "</s>", "--max-new-tokens", "8", "--json"
    )
    assert done.code == 0, done.stderr
    assert done.json()["completions"][0]["prompt"] == "</s>"
