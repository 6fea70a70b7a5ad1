"""The program itself: its version, its help, and how it leaves."""

import os
import re
from pathlib import Path

import pytest

from nima_cli import __version__
from nima_cli.config.load import load_config
from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, refused, start

COMMANDS = (
    "data prepare", "data inspect", "models list", "models get", "models show", "train", "eval", "chat", "generate",
    "plot", "export",
)  # fmt: skip


def test_version(nima: Nima) -> None:
    assert nima("--version").stdout == f"nima {__version__}\n"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_explains_and_shows_examples(command: str, nima: Nima) -> None:
    ran = nima(*command.split(), "--help")
    assert (ran.code, ran.stderr) == (0, "")
    assert "Usage" in ran.stdout
    if command:
        assert "Examples" in ran.stdout
        assert f"nima {command}" in ran.stdout
    else:
        assert all(name.split()[0] in ran.stdout for name in COMMANDS)


def test_commands_are_listed_in_the_order_of_the_work(nima: Nima) -> None:
    def listed(*words: str) -> list[str]:
        _, _, commands = nima(*words, "--help").stdout.partition("Commands:\n")
        return [line.split()[0] for line in commands.splitlines()]

    assert listed() == ["data", "models", "train", "eval", "chat", "generate", "plot", "export"]
    assert listed("data") == ["prepare", "inspect"]
    assert listed("models") == ["list", "get", "show"]


@pytest.mark.parametrize("command", ["", "data", *COMMANDS])
def test_help_fits_80_columns_whole_and_in_words(command: str, nima: Nima) -> None:
    shown = nima(*command.split(), "--help", env={"COLUMNS": "80"}).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert not re.search(r"\w\.\.\.$", shown.partition("Commands:")[2], re.MULTILINE), "a sentence is cut"
    types = re.findall(r"<[^>]*>|\blist\[|\bPath\]", shown.replace("experiments/<name>", ""))
    assert types == [], "the types of Python leak out"


def test_an_example_that_is_folded_is_one_command_for_a_shell(nima: Nima) -> None:
    shown = nima("data", "prepare", "--help").stdout
    whole = shown.replace("\\\n", "")
    (line,) = [line.strip() for line in whole.splitlines() if "--source docs" in line]
    words = "nima data prepare --output-dir data/mix --source docs,weight=2.0 --source builtin:python-docs"
    assert line.split() == words.split()


@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_examples_set_can_be_set(command: str, nima: Nima) -> None:
    shown = re.findall(r"--set (\S+)", nima(*command.split(), "--help").stdout)
    assert shown or command != "train"
    load_config(set_=[setting for setting in shown if "=" in setting and "." in setting], environ={})


@pytest.mark.parametrize("arguments", [("nonsense",), ("--nonsense",), ("eval",), ("plot",), ("data", "nonsense")])
def test_a_wrong_command_line_is_one_line(arguments: tuple[str, ...], nima: Nima) -> None:
    refused(nima(*arguments), 2)


def test_debug_shows_the_traceback_and_nothing_else_does(nima: Nima, tmp_path: Path) -> None:
    quiet, loud = (nima("plot", tmp_path, *flags) for flags in ((), ("--debug",)))
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in loud.stderr
    assert quiet.stderr in loud.stderr
    assert (quiet.code, loud.code) == (2, 2)


@pytest.mark.torch
@pytest.mark.parametrize("command", ["plot", "help", "inspect", "generate"])
def test_a_reader_that_goes_away_is_no_error(command: str, tiny_run: TinyRun, tmp_path: Path) -> None:
    """`nima ... | head -1`: the other end of the pipe is closed before anything is written."""
    arguments: dict[str, tuple[str | Path, ...]] = {
        "plot": ("plot", tiny_run.run_dir),
        "help": ("train", "--help"),
        "inspect": ("data", "inspect", tiny_run.data),
        "generate": ("generate", "--checkpoint", tiny_run.run_dir, "--prompt", "x", "--max-new-tokens", "4"),
    }
    reading, writing = os.pipe()
    os.close(reading)
    process = start(arguments[command], tmp_path, stdout=writing)
    os.close(writing)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr.decode()) == (0, "")
