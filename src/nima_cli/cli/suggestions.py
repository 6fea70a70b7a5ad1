"""Guesses what a user meant by a command line that cannot be read."""

import re
import shlex
from typing import Any

from typer.exceptions import TyperException

from nima_cli.config.synonyms import closest, inverted, key_for, plain

# Other programs' words for our options, as `plain` spells them, with ours in order of preference.
_OPTIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("data", "dataset", "input"), ("--data", "--text-files", "--prompt-file")),
    **dict.fromkeys(("files", "docs", "folder", "path"), ("--text-files", "--checkpoint")),
    **dict.fromkeys(("o", "out", "output", "outdir", "rundir", "savedir"), ("--output-dir", "--output")),
    **dict.fromkeys(("model", "ckpt", "run"), ("--checkpoint", "--preset")),
    **dict.fromkeys(("weights", "pretrained"), ("--checkpoint", "--init-from")),
    "datadir": ("--data", "--output-dir"), "text": ("--text-files", "--prompt"),
    **dict.fromkeys(("maxtokens", "maxlength", "npredict", "length"), ("--max-new-tokens",)),
    **dict.fromkeys(("n", "samples"), ("--num-samples", "--samples")),
    **dict.fromkeys(("continue", "restart"), ("--resume auto",)),
    **dict.fromkeys(("gpu", "cuda"), ("--device cuda",)),
    "cpu": ("--device cpu",), "mps": ("--device mps",), "greedy": ("--temperature 0",), "force": ("--overwrite",),
    "size": ("--preset",), "testonly": ("--eval-only",), "plan": ("--dry-run",),
}  # fmt: skip
_COMMANDS = inverted({
    "eval": "evaluate test score benchmark", "generate": "sample complete infer inference predict",
    "chat": "run talk ask", "train": "fit pretrain finetune tune", "plot": "graph draw curves",
    "export": "convert save", "data": "dataset", "--install-completion": "completion", "--version": "version",
}) | {
    "prepare": "data prepare", "preprocess": "data prepare", "tokenize": "data prepare", "inspect": "data inspect",
    "resume": "train --resume auto",
}  # fmt: skip


def suggestion(error: TyperException) -> str:
    """A hint: what was meant, or where to look."""
    context: Any = getattr(error, "ctx", None)
    if context is None:
        return "see `nima --help`"
    meant = None
    if type(error).__name__ == "NoSuchOption":
        meant = _option(error.option_name, context)  # type: ignore[attr-defined]
    elif found := re.search(r"[Nn]o such command '(.+)'", error.message):
        meant = _command(found[1], context)
    elif found := re.search(r"unexpected extra argument.* \((.+)\)", error.message):
        meant = _argument(found[1], context)
    return f"did you mean `{meant}`?" if meant is not None else f"see `{context.command_path} --help`"


def _option(given: str, context: Any) -> str | None:
    """The option or setting of this command that was meant."""
    word = plain(given)
    known = {plain(name): name for parameter in context.command.params for name in parameter.opts if "--" in name}
    if meant := next((name for name in _OPTIONS.get(word, ()) if name.split()[0] in known.values()), None):
        return meant
    if key := key_for(given, [name.removeprefix("--").replace("-", "_") for name in known.values()]):
        return "--" + key.replace("_", "-")
    if "--set" in known.values():
        from nima_cli.config.keys import dotted, leaves

        key = key_for(word, [path[-1] for path in leaves()])
        if path := next((path for path in leaves() if plain(path[-1]) == word or path[-1] == key), None):
            return f"--set {dotted(path)}=..."
    near = closest(word, known)
    return known[near] if near else None


def _command(given: str, context: Any) -> str | None:
    """The full name of the command that was meant."""
    word, root = plain(given), context.find_root().command
    if near := closest(word, context.command.commands):
        return f"{context.command_path} {near}"
    known = {**_COMMANDS, **{name: name for name in root.commands}}
    found = closest(word, known)
    return f"nima {known[found]}" if found else None


def _argument(given: str, context: Any) -> str | None:
    """The option that this word is a value of."""
    name = context.command.name
    takes = {"train": "--data", "prepare": "--text-files", "generate": "--prompt"}
    if name not in takes or " " in given:
        return None
    option = "-c" if name == "train" and given.endswith((".yaml", ".yml")) else takes[name]
    return f"{context.command_path} {option} {shlex.quote(given)}"
