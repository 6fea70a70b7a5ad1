"""An evaluation as tables for the terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nima_cli.ui import formatting
from nima_cli.ui.console import safe_text
from nima_cli.ui.tables import stacked, table

_BEST, _BEHIND = "bold green", "bold yellow"
_LANGUAGES = {"yaml": "YAML that parses", "json": "JSON that parses", "shell": "shell that `bash -n` accepts"}


def _bits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


_FIGURES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("loss", "loss (nats per token)", formatting.loss),
    ("perplexity", "perplexity", formatting.ratio),
    ("bits_per_byte", "bits per byte", _bits),
    ("accuracy", "next-token accuracy", "{:.1%}".format),
    ("tokens", "tokens evaluated", lambda value: f"{value:,}"),
)


def eval_view(result: Mapping[str, Any]) -> RenderableType:
    """What `nima eval --json` prints as tables; figures that are absent or None are left out."""
    figures = [(name, show(result[field])) for field, name, show in _FIGURES if result.get(field) is not None]
    parts: list[RenderableType] = [table(("", f">{result['split']} split"), figures, styles=("", "bold"))]
    baselines = result.get("baselines", [])
    if baselines:
        parts.append(_baselines(result))
    for dimension, rows in result.get("by", {}).items():
        parts.append(_breakdown(dimension, rows, [one["name"] for one in baselines]))
    if baselines:
        parts.append(Text(safe_text(result["verdict"])))
    for field, title, facts in (("writing", "what it writes", _writing), ("answers", "what it answers", _answers)):
        if field in result:
            parts.append(table((title, ""), facts(result[field]), styles=("", "bold"), gap=2))
    return stacked(*parts)


def _baselines(result: Mapping[str, Any]) -> Table:
    model = Text(_bits(result["bits_per_byte"]), _BEHIND if result["behind"] else _BEST)
    others = [(one["name"], _bits(one["bits_per_byte"]), one["note"]) for one in result["baselines"]]
    headings = ("did it learn?", ">bits per byte", "")
    return table(headings, [("this model", model, ""), *others], styles=("", "", "dim"), gap=2)


def _breakdown(dimension: str, rows: Sequence[Mapping[str, Any]], baselines: Sequence[str]) -> Table:
    """One line per name, and one column per baseline that has figures."""
    shown = [name for name in baselines if any(row["baselines"][name] is not None for row in rows)]
    lines = [
        (
            row["name"],
            formatting.size(row["bytes"]),
            formatting.loss(row["loss"]),
            f"{row['accuracy']:.1%}",
            Text(_bits(row["bits_per_byte"]), "bold" if not shown else _BEHIND if row["behind"] else _BEST),
            *(_bits(row["baselines"][name]) for name in shown),
        )
        for row in rows
    ]
    headings = (dimension, ">size", ">loss", ">accuracy", ">bits/byte", *(f">{name}" for name in shown))
    return table(headings, lines, styles=("bold",), gap=2)


def _writing(writing: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "texts", f"{writing['texts']} of {writing['tokens']:,} tokens; {writing['finished']} ended by themselves"
    fences, copies = writing["fences"], writing["copies"]
    cut = f"; {fences['cut']} more were cut off by the limit" if fences["cut"] else ""
    yield "fences closed", f"{fences['closed']} of {fences['opened'] - fences['cut']}{cut}"
    for language, name in _LANGUAGES.items():
        counts = writing["blocks"][language]
        missing = language == "shell" and not writing["shell_checked"]
        yield name, "not checked: there is no bash" if missing else f"{counts['valid']} of {counts['checked']}"
    theirs = f"(the real text: {copies['held_out_share']:.1%}, {copies['held_out_longest']} tokens)"
    share = f"{copies['share']:.1%} in runs of {copies['at_least']} tokens or more"
    yield "copied from training", f"{share}, the longest {copies['longest']} {theirs}"


def _answers(answers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "questions asked", f"{answers['asked']} of {answers['held_out']}"
    yield "token F1", f"{answers['f1']:.1%}"
    yield "exact match", f"{answers['exact_match']:.1%}"
