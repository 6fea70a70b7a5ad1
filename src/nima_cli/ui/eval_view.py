"""An evaluation as tables for the terminal; knows nothing of how it was computed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nima_cli.ui import formatting
from nima_cli.ui.console import safe_text
from nima_cli.ui.tables import eval_table

_BEST, _BEHIND = "bold green", "bold yellow"
_LANGUAGES = {"yaml": "YAML that parses", "json": "JSON that parses", "shell": "shell that `bash -n` accepts"}


def eval_view(result: Mapping[str, Any]) -> RenderableType:
    """Everything that an evaluation found, as far as it was asked for.

    Args:
        result: what `nima eval --json` prints.
    """
    parts: list[RenderableType] = [eval_table(result)]
    baselines = result.get("baselines", [])
    if baselines:
        parts += [Text(), _baselines(result)]
    for dimension, rows in result.get("by", {}).items():
        parts += [Text(), _breakdown(dimension, rows, [one["name"] for one in baselines])]
    if baselines:
        parts += [Text(), Text(safe_text(result["verdict"]))]
    if "writing" in result:
        parts += [Text(), _pairs("what it writes", _writing(result["writing"]))]
    if "answers" in result:
        parts += [Text(), _pairs("what it answers", _answers(result["answers"]))]
    return Group(*parts)


def _baselines(result: Mapping[str, Any]) -> Table:
    table = _table(("did it learn?", "left"), ("bits per byte", "right"), ("", "left"))
    table.add_row("this model", Text(_bits(result["bits_per_byte"]), _BEHIND if result["behind"] else _BEST), "")
    for one in result["baselines"]:
        table.add_row(one["name"], _bits(one["bits_per_byte"]), Text(safe_text(one["note"]), "dim"))
    return table


def _breakdown(dimension: str, rows: Sequence[Mapping[str, Any]], baselines: Sequence[str]) -> Table:
    """One line per name; baselines that say nothing along this dimension have no column."""
    shown = [name for name in baselines if any(row["baselines"][name] is not None for row in rows)]
    headings = ("size", "loss", "accuracy", "bits/byte", *shown)
    table = _table((dimension, "left"), *((heading, "right") for heading in headings))
    for row in rows:
        style = "bold" if not shown else _BEHIND if row["behind"] else _BEST
        table.add_row(
            Text(safe_text(row["name"]), "bold"),
            formatting.size(row["bytes"]),
            formatting.loss(row["loss"]),
            formatting.percent(row["accuracy"]),
            Text(_bits(row["bits_per_byte"]), style),
            *(_bits(row["baselines"][name]) for name in shown),
        )
    return table


def _bits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _writing(writing: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "texts", f"{writing['texts']} of {writing['tokens']:,} tokens; {writing['finished']} ended by themselves"
    fences, copies = writing["fences"], writing["copies"]
    cut = f"; {fences['cut']} more were cut off by the limit" if fences["cut"] else ""
    yield "fences closed", f"{fences['closed']} of {fences['opened'] - fences['cut']}{cut}"
    for language, name in _LANGUAGES.items():
        counts = writing["blocks"][language]
        missing = language == "shell" and not writing["shell_checked"]
        yield name, "not checked: there is no bash" if missing else f"{counts['valid']} of {counts['checked']}"
    theirs = f"(the real text: {formatting.percent(copies['held_out_share'])}, {copies['held_out_longest']} tokens)"
    share = f"{formatting.percent(copies['share'])} in runs of {copies['at_least']} tokens or more"
    yield "copied from training", f"{share}, the longest {copies['longest']} {theirs}"


def _answers(answers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "questions asked", f"{answers['asked']} of {answers['held_out']}"
    yield "token F1", formatting.percent(answers["f1"])
    yield "exact match", formatting.percent(answers["exact_match"])


def _pairs(title: str, rows: Iterator[tuple[str, str]]) -> Table:
    table = _table((title, "left"), ("", "left"))
    for name, value in rows:
        table.add_row(name, Text(safe_text(value), "bold"))
    return table


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for heading, side in columns:
        table.add_column(heading, justify="right" if side == "right" else "left")
    return table
