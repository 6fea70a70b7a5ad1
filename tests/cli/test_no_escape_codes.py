"""Without a terminal, no command prints an escape code or a carriage return."""

from pathlib import Path

import pytest

from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima

LINES = b"hello\n/help\n/set\n/system be brief\n/stats\n/undo\n/nonsense\n"


def commands(tiny_run: TinyRun, corpus: Path, out: Path) -> dict[str, tuple[str | Path, ...]]:
    checkpoint = ("--checkpoint", tiny_run.run_dir)
    train = ("train", "-c", tiny_run.config, "--data", tiny_run.data)
    return {
        "nothing": (),
        "help": ("--help",),
        "version": ("--version",),
        "train help": ("train", "--help"),
        "prepare": ("data", "prepare", "--output-dir", out / "d", "--text-files", corpus),
        "inspect": ("data", "inspect", tiny_run.data, "--samples", "3"),
        "train": (*train, "--output-dir", out / "r", "--max-steps", "2", "--verbose"),
        "dry run": (*train, "--dry-run"),
        "resume": ("train", "--resume", tiny_run.run_dir),
        "eval": ("eval", *checkpoint),
        "generate": ("generate", *checkpoint, "--prompt", "a \x1b[31m \r", "b", "--max-new-tokens", "4"),
        "chat": ("chat", *checkpoint, "--max-new-tokens", "4"),
        "chat once": ("chat", *checkpoint, "--max-new-tokens", "4", "--once", "hi \x1b]0;title\x07"),
        "plot": ("plot", tiny_run.run_dir, "--metric", "loss", "perplexity"),
        "plot file": ("plot", tiny_run.run_dir, "--output", out / "p.png"),
        "watch": ("plot", tiny_run.run_dir, "--watch"),
        "wrong": ("train", "--nonsense"),
        "refused": ("eval", "--checkpoint", out / "\x1b[31mred\r"),
        "refused metric": ("plot", tiny_run.run_dir, "--metric", "\x1b[2J"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "nothing", "help", "version", "train help", "prepare", "inspect", "train", "dry run", "resume", "eval",
        "generate", "chat", "chat once", "plot", "plot file", "watch", "wrong", "refused", "refused metric",
    ],
)  # fmt: skip
def test_output_is_plain(name: str, tiny_run: TinyRun, tiny_corpus: Path, nima: Nima, tmp_path: Path) -> None:
    ran = nima(*commands(tiny_run, tiny_corpus, tmp_path)[name], stdin=LINES, env={"TERM": "xterm-256color"})
    assert ran.code in ({2, 3} if name in ("nothing", "wrong", "refused", "refused metric") else {0}), ran.stderr
    printed = ran.stdout + ran.stderr
    assert printed
    steering = {character for character in printed if character < " " or "\x7f" <= character < "\xa0"} - {"\n"}
    assert steering == set()
