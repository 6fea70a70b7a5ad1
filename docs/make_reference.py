"""Writes `docs/config.md` from the schema and `docs/cli.md` from the help; adds no fact.

Run `python docs/make_reference.py` after changing either; `--check` writes nothing and exits 1 when one is stale.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from nima_cli.cli.app import app
from nima_cli.config.keys import allowed, section_type, sections
from nima_cli.config.schema import PRESET_VOCAB_SIZES, PRESETS
from nima_cli.config.section import Section
from nima_cli.config.strict_yaml import inline

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/make_reference.py; edit the source of the facts, not this file. -->"

CONFIG_INTRO = """# Configuration

A run is configured by a YAML file (`nima train -c FILE`), and every key in it is optional.
`configs/technical.yaml` is a complete example. A value is taken from the last of these that gives one:

1. the defaults below
2. the preset (`model.preset`)
3. the YAML file
4. environment variables: `NIMA_TRAINING__LEARNING_RATE=3e-4` sets `training.learning_rate`
5. flags, such as `--epochs 3`
6. `--set section.key=value`, as often as needed

A misspelled key is an error wherever it is written. `null` means that nima chooses; the last column says how.
Relative paths start at the folder in which `nima` is run.
"""


def config_reference() -> str:
    """The whole of `docs/config.md`."""
    blocks = [NOTE, CONFIG_INTRO.strip(), *presets_block()]
    for path, section in sections().items():
        if path:
            blocks += [f"## {'.'.join(path)}", inline_doc(section), table(key_rows(section))]
    return "\n\n".join(blocks) + "\n"


def inline_doc(section: type[Section]) -> str:
    """The docstring of a section as one line."""
    return " ".join((section.__doc__ or "").split())


def presets_block() -> Iterator[str]:
    """A table of what each preset sets."""
    yield "## Presets"
    yield "A preset is the layer between the defaults and your file: what you set yourself wins."
    keys = {(section, key): None for preset in PRESETS.values() for section in preset for key in preset[section]}
    rows = [["key", *(f"`{name}`" for name in PRESETS)]]
    rows += [
        [f"`{section}.{key}`", *(str(preset[section].get(key, "left open")) for preset in PRESETS.values())]
        for section, key in keys
    ]
    rows.append(["vocabulary of the stated size", *(str(size) for size in PRESET_VOCAB_SIZES.values())])
    yield table(rows)


def key_rows(section: type[Section]) -> list[list[str]]:
    """One row for each key of a section that holds a value."""
    rows = [["key", "value", "default", "meaning"]]
    for name, field in section.model_fields.items():
        if section_type(field.annotation) is None:
            default = "required" if field.is_required() else f"`{inline(field.get_default(call_default_factory=True))}`"
            rows.append([f"`{name}`", allowed(field.annotation, field.metadata), default, field.description or ""])
    return rows


def cli_reference() -> str:
    """The whole of `docs/cli.md`."""
    command = typer.main.get_command(app)
    blocks = [NOTE, "# Commands"]
    blocks += command_blocks(command, typer.Context(command, info_name="nima", **command.context_settings))
    return "\n\n".join(blocks) + "\n"


def command_blocks(command: Any, context: Any) -> Iterator[str]:
    """Heading, usage, help and options of a command, then those of its subcommands."""
    yield f"## {context.command_path}"
    yield f"```\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    yield from help_blocks(command.help or "")
    rows = [record for parameter in command.get_params(context) if (record := parameter_row(parameter, context))]
    if rows:
        yield table([["option", "meaning"], *rows])
    yield from help_blocks(command.epilog or "")
    if isinstance(command, TyperGroup):
        for name in command.list_commands(context):
            inner = command.commands[name]
            if not inner.hidden:
                yield from command_blocks(inner, typer.Context(inner, info_name=name, parent=context))


def parameter_row(parameter: Any, context: Any) -> list[str] | None:
    """The name and the help of an option or argument, or None when it is hidden."""
    if not isinstance(parameter, TyperArgument | TyperOption) or parameter.hidden:
        return None
    record = parameter.get_help_record(context)
    return [f"`{record[0]}`", record[1].strip()] if record else None


def help_blocks(text: str) -> Iterator[str]:
    """The paragraphs of a help text; those that keep their line breaks in the terminal become code."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if paragraph.lstrip().startswith("\b"):
            lines = paragraph.replace("\b", "").strip("\n")
            yield f"```\n{lines}\n```"
        elif paragraph.strip():
            yield " ".join(paragraph.split())


def table(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is its head."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main() -> int:
    """Write both references, or with `--check` only compare; the exit code is 1 when a checked one is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    check = parser.parse_args().check
    stale = 0
    texts = {DOCS / "config.md": config_reference(), DOCS / "cli.md": cli_reference()}
    for path, text in texts.items():
        if path.exists() and path.read_text("utf-8") == text:
            continue
        if check:
            print(f"{path.name} is stale: run `python docs/make_reference.py`", file=sys.stderr)
            stale = 1
            continue
        path.write_text(text, "utf-8", newline="\n")
    return stale


if __name__ == "__main__":
    raise SystemExit(main())
