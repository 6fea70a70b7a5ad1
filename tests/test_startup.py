"""What a quick command may cost: the libraries that a process imports for help, completion, a refusal or a plot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nima_cli.cli.app import app
from nima_cli.loggers.jsonl import JsonlLogger
from tests.recorded_run import whole_run

pytestmark = pytest.mark.program

# Each costs from a tenth of a second to several seconds.
HEAVY = {
    "torch", "numpy", "sentencepiece", "matplotlib", "plotext", "prompt_toolkit", "tensorboard", "wandb",
    "transformers", "tokenizers", "nima_cli.engine",
}  # fmt: skip
# Runs the program with each list of arguments in turn; writes each exit code, and the modules imported by then.
PROGRAM = """
import json, os, sys
found = []
from nima_cli.cli.app import main
for arguments in json.loads(os.environ["COMMANDS"]):
    sys.argv = ["nima", *arguments]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    found.append([code, list(sys.modules)])
    with open(os.environ["FOUND_FILE"], "w") as stream:
        json.dump(found, stream)
"""


def heavy_imports(folder: Path, *commands: list[str], **env: str) -> list[tuple[int, set[str]]]:
    """For each command its exit code, and the heavy libraries that the process had imported when it ended."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("NIMA_", "_NIMA"))}
    fixed = {
        "COMMANDS": json.dumps(commands),
        "FOUND_FILE": str(folder / "found.json"),
        "NIMA_HOME": str(folder / "home"),
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**inherited, **fixed, **env},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    found = json.loads((folder / "found.json").read_text())
    assert all("nima_cli.cli.app" in modules for _, modules in found)
    return [(code, set(modules) & HEAVY) for code, modules in found]


def command_lines() -> list[list[str]]:
    """Every command and group of the program."""
    found: list[list[str]] = [[]]
    for group, inner in [("", app), *((str(g.name), g.typer_instance) for g in app.registered_groups)]:
        assert inner is not None
        prefix = [group] if group else []
        found += [prefix] if prefix else []
        found += [[*prefix, c.name or c.callback.__name__] for c in inner.registered_commands if c.callback is not None]
    return found


def test_the_first_help_loads_nothing_of_ours_but_the_commands(tmp_path: Path) -> None:
    """`nima --help` must come up as fast as Typer itself does."""
    program = "import sys; from nima_cli.cli.app import app; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    avoidable = ("pydantic", "yaml", "rich.console", "filelock", "nima_cli.events", "nima_cli.config.schema")
    assert [name for name in avoidable if f"'{name}'" in done.stdout] == []


def test_help_is_light(tmp_path: Path) -> None:
    commands = [[*line, "--help"] for line in command_lines()]
    assert ["data", "prepare", "--help"] in commands
    assert ["chat", "--help"] in commands
    assert [(line, *found) for line, found in zip(commands, heavy_imports(tmp_path, *commands), strict=True)] == [
        (line, 0, set()) for line in commands
    ]


def test_a_refusal_is_light(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("trainng:\n  epochs: 1\n")
    commands = [
        ["train", "-c", "missing.yaml"],
        ["train", "-c", "bad.yaml"],
        ["train", "--set", "training.epochs=many"],
        ["train", "--no-such-flag"],
        ["plot", "missing"],
        ["generate", "--prompt", "x"],
        ["frobnicate"],
    ]
    assert [(line, *found) for line, found in zip(commands, heavy_imports(tmp_path, *commands), strict=True)] == [
        (line, 2, set()) for line in commands
    ]


def test_completion_is_light(tmp_path: Path) -> None:
    words = {"COMP_WORDS": "nima train --le", "COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": "nima train --le"}
    ((_, heavy),) = heavy_imports(tmp_path, [], _NIMA_COMPLETE="complete_bash", **words)
    assert heavy == set()


def test_completing_and_refusing_the_name_of_a_model_is_light(tmp_path: Path) -> None:
    words = {"COMP_WORDS": "nima chat smol", "COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": "nima chat smol"}
    ((_, heavy),) = heavy_imports(tmp_path, [], _NIMA_COMPLETE="complete_bash", **words)
    assert heavy <= {"nima_cli.engine"}
    ((code, heavy),) = heavy_imports(tmp_path, ["models", "get", "nothing-of-that-name"])
    assert code == 2
    assert heavy <= {"nima_cli.engine"}


def test_plotting_a_run_needs_only_what_draws(tmp_path: Path) -> None:
    logger = JsonlLogger(tmp_path / "metrics.jsonl", keep_until_step=None)
    for event in whole_run(tmp_path):
        logger(event)
    logger.close()
    ((code, heavy),) = heavy_imports(tmp_path, ["plot", str(tmp_path)])
    assert code == 0
    assert "plotext" in heavy, "the probe does not see what is imported"
    assert heavy <= {"plotext", "numpy"}
