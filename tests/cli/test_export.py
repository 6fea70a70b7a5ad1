"""`nima export`: what it prints, what it writes, what each flag does, and what it refuses."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, contents, refused
from tests.conftest import RunCli

try:
    from tests.terminal import run_on_terminal
except ImportError:  # Windows has no pseudo-terminals
    run_on_terminal = None  # type: ignore[assignment]

pytest.importorskip("gguf")
FORMATS = ("hf", "gguf", "safetensors")


@pytest.mark.parametrize("kind", FORMATS)
def test_it_says_what_it_wrote_and_verified(kind: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    output = tmp_path / "an [export]"
    ran = nima("export", "--checkpoint", tiny_run.run_dir, "--format", kind, "--output", output)
    assert ran.code == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].startswith(f"{output}: {kind}, 43.2k parameters, float32, ")
    assert lines[1].startswith("verified: read back by ")
    assert "logits" in lines[1]
    assert [line.split(":")[0] for line in lines[2:]] == (["not verified"] if kind == "gguf" else [])
    ollama = r"hint: Ollama takes it: `ollama create '.*' -f '.*\.Modelfile'`\n" if kind == "gguf" else ""
    assert re.fullmatch(rf"hint: .* reads it: .*\n{ollama}", ran.stderr)


@pytest.mark.parametrize("kind", FORMATS)
def test_json_is_one_object_with_every_file(kind: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    arguments = ("--format", kind, "--output", tmp_path / "out", "--dtype", "float16", "--json")
    found = nima("export", "--checkpoint", tiny_run.run_dir / "checkpoint_last.pt", *arguments).json()
    assert found.keys() == {
        "output", "format", "dtype", "parameters", "files", "bytes", "verified", "unverified", "notes",
    }  # fmt: skip
    assert (found["output"], found["format"], found["dtype"]) == (str(tmp_path / "out"), kind, "float16")
    written = {str(tmp_path / name): len(data) for name, data in contents(tmp_path).items()}
    assert set(found["files"]) == set(written)
    assert found["bytes"] == sum(written.values())
    assert 2 * found["parameters"] < found["bytes"]


def test_quantized_weights_are_for_gguf(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    arguments = ("export", "--checkpoint", tiny_run.run_dir, "--format", "gguf", "--dtype", "q8_0")
    ran = nima(*arguments, "--output", tmp_path / "small.gguf")
    assert ran.code == 0, ran.stderr
    assert re.search(r"; q8_0 moves the logits by \S+ on average, \S+ at most\n", ran.stdout)
    assert nima(*arguments[:-1], "float32", "--output", tmp_path / "whole.gguf").code == 0
    assert (tmp_path / "small.gguf").stat().st_size < (tmp_path / "whole.gguf").stat().st_size


def test_the_checkpoint_alone_is_enough(tiny_run: TinyRun, run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes((tiny_run.run_dir / "checkpoint_best.pt").read_bytes())
    ran = run_cli("export", "--checkpoint", "best.pt", "--format", "hf", "--output", "deep/er/out", cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    assert "loaded by transformers" in ran.stdout
    assert "\x1b" not in ran.stdout + ran.stderr
    assert re.fullmatch(r"hint: .* reads it: .*\n", ran.stderr)
    assert (tmp_path / "deep" / "er" / "out" / "model.safetensors").is_file()


def test_the_card_has_data_and_licence(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    arguments = ("export", "--checkpoint", tiny_run.run_dir, "--format", "hf", "--output", tmp_path / "out")
    assert nima(*arguments, "--license", "mit").code == 0
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    metadata = json.loads((tiny_run.data / "dataset_metadata.json").read_text("utf-8"))
    assert card.startswith("---\nlicense: mit\n")
    assert all(f"| {split['tokens']:,} |" in card for split in metadata["splits"].values())
    assert nima(*arguments, cwd=tmp_path).code == 0
    assert "license: unknown" in (tmp_path / "out" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--format", "onnx"), 2, "--format onnx"),
        (("--dtype", "int8"), 2, "--dtype int8"),
        (("--dtype", "q8_0"), 2, "--dtype q8_0"),
        (("--format", "peft"), 3, "no adapters"),
        (("--license", "my own"), 2, "--license 'my own'"),
        (("--output", "/"), 2, "/"),
        (("--checkpoint", "nowhere"), 3, "nowhere"),
    ],
)
def test_bad_flags(flags: tuple[str, ...], code: int, said: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    given = {"--checkpoint": str(tiny_run.run_dir), "--format": "safetensors", "--output": "out"}
    words = [word for pair in (given | {flags[0]: flags[1]}).items() for word in pair]
    assert said in refused(nima("export", *words, cwd=tmp_path), code)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_there_stays(kind: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    taken = tiny_run.copy(tmp_path)
    output = taken if kind == "hf" else taken / "checkpoint_best.pt"
    before = contents(tmp_path)
    ran = nima("export", "--checkpoint", taken, "--format", kind, "--output", output)
    assert str(output) in refused(ran, 2)
    assert "hint: choose another `--output`" in ran.stderr
    assert contents(tmp_path) == before


@pytest.mark.skipif(run_on_terminal is None, reason="needs a pseudo-terminal")
@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_shows_the_phases_unless_quiet(quiet: bool, tiny_run: TinyRun, tmp_path: Path) -> None:
    words = ["export", "--checkpoint", tiny_run.run_dir, "--format", "safetensors", "--output", tmp_path / "out"]
    argv = ["nima", *map(str, words), *(["--quiet"] if quiet else [])]
    code = f"import sys; sys.argv = {argv!r}\nfrom nima_cli.cli.app import main; main()"
    status, shown = run_on_terminal(code, env={"NIMA_HOME": str(tmp_path)}, timeout=90)
    assert status == 0, shown
    assert "verified: " in shown
    assert ("writing and reading back" in shown) is not quiet
