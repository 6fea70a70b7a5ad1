"""What a user meant by a command line that cannot be read; depends on the parsed commands and on the schema's keys."""

import re
import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from typer.exceptions import TyperException

from nima_cli.config.synonyms import key_for, plain

# Other programs' words for our options, in the order of preference; without dashes.
_OPTIONS: dict[str, Sequence[str]] = {
    "data": ("--data", "--text-files"), "dataset": ("--data",), "datadir": ("--data", "--output-dir"),
    "input": ("--data", "--text-files", "--prompt-file"), "files": ("--text-files",),
    "text": ("--text-files", "--prompt"), "docs": ("--text-files",),
    "folder": ("--text-files",), "path": ("--text-files", "--checkpoint"),
    "o": ("--output-dir", "--output"), "out": ("--output-dir", "--output"), "output": ("--output-dir",),
    "outdir": ("--output-dir", "--output"), "rundir": ("--output-dir",), "savedir": ("--output-dir",),
    "model": ("--checkpoint", "--preset"), "size": ("--preset",), "ckpt": ("--checkpoint",), "run": ("--checkpoint",),
    "weights": ("--checkpoint", "--init-from"), "pretrained": ("--init-from",), "continue": ("--resume auto",),
    "restart": ("--resume auto",), "gpu": ("--device cuda",), "cuda": ("--device cuda",), "mps": ("--device mps",),
    "cpu": ("--device cpu",), "maxtokens": ("--max-new-tokens",), "maxlength": ("--max-new-tokens",),
    "npredict": ("--max-new-tokens",), "length": ("--max-new-tokens",), "n": ("--num-samples", "--samples"),
    "samples": ("--num-samples",), "greedy": ("--temperature 0",), "force": ("--overwrite",),
    "dedupe": ("--dedup",), "valratio": ("--val-ratio",), "testonly": ("--eval-only",), "plan": ("--dry-run",),
}  # fmt: skip
_COMMANDS = {
    "prepare": "data prepare", "preprocess": "data prepare", "tokenize": "data prepare", "inspect": "data inspect",
    "dataset": "data", "evaluate": "eval", "test": "eval", "score": "eval", "benchmark": "eval", "sample": "generate",
    "complete": "generate", "infer": "generate", "inference": "generate", "predict": "generate", "run": "chat",
    "talk": "chat", "ask": "chat", "fit": "train", "pretrain": "train", "finetune": "train", "tune": "train",
    "resume": "train --resume auto", "graph": "plot", "draw": "plot", "curves": "plot", "convert": "export",
    "save": "export", "completion": "--install-completion", "version": "--version",
}  # fmt: skip


def suggestion(error: TyperException) -> str:
    """A hint for a command line that Typer could not read: what was meant, else where to look."""
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "nima"
    meant = _meant(error, context) if context is not None else None
    return f"did you mean `{meant}`?" if meant is not None else f"see `{path} --help`"


def _meant(error: TyperException, context: Any) -> str | None:
    option = getattr(error, "option_name", None)
    if option is not None and type(error).__name__ == "NoSuchOption":
        return _option(option, context)
    if found := re.search(r"[Nn]o such command '(.+)'", error.message):
        return _command(found[1], context)
    if found := re.search(r"unexpected extra argument.* \((.+)\)", error.message):
        return _argument(found[1], context)
    return None


def _option(given: str, context: Any) -> str | None:
    """An option of the command, or the setting that it would set."""
    word = plain(given)
    known = {plain(name): name for parameter in context.command.params for name in parameter.opts if "--" in name}
    for meant in _OPTIONS.get(word, ()):
        if meant.split()[0] in known.values():
            return meant
    if key := key_for(given, [name.removeprefix("--").replace("-", "_") for name in known.values()]):
        return "--" + key.replace("_", "-")
    if "--set" in known.values() and (setting := _setting(word)):
        return f"--set {setting}=..."
    near = get_close_matches(word, known, n=1)
    return known[near[0]] if near else None


def _setting(word: str) -> str | None:
    from nima_cli.config.keys import dotted, leaves

    names = [path[-1] for path in leaves()]
    for path in leaves():
        if plain(path[-1]) == word or path[-1] == key_for(word, names):
            return dotted(path)
    return None


def _command(given: str, context: Any) -> str | None:
    """A command by its full name."""
    word = plain(given)
    here = context.command_path.split()
    near = get_close_matches(word, context.command.commands, n=1)
    if near:
        return " ".join([*here, near[0]])
    root = context.find_root().command
    found = word if word in root.commands else _COMMANDS.get(word)
    if found is None and (others := get_close_matches(word, [*root.commands, *_COMMANDS], n=1)):
        found = _COMMANDS.get(others[0], others[0])
    return f"nima {found}" if found is not None else None


def _argument(given: str, context: Any) -> str | None:
    """The option that a word without one belongs to."""
    takes = {"train": "--data", "prepare": "--text-files", "generate": "--prompt"}
    name = context.command.name
    if name not in takes or " " in given:
        return None
    option = "-c" if name == "train" and given.endswith((".yaml", ".yml")) else takes[name]
    return f"{context.command_path} {option} {shlex.quote(given)}"
