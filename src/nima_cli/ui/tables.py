"""Results as tables for the terminal; knows nothing of how they were computed."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nima_cli.ui import formatting
from nima_cli.ui.console import safe_text

_EVAL_ROWS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("loss", "loss (nats per token)", formatting.loss),
    ("perplexity", "perplexity", formatting.ratio),
    ("bits_per_byte", "bits per byte", lambda value: f"{value:.3f}"),
    ("accuracy", "next-token accuracy", formatting.percent),
    ("tokens", "tokens evaluated", lambda value: f"{value:,}"),
)
_SPLIT_COLUMNS = ("documents", "samples", "tokens", "characters", "bytes")


def eval_table(result: Mapping[str, Any]) -> RenderableType:
    """What an evaluation found, one line per number.

    Args:
        result: fields of an `eval` row of `metrics.jsonl`; a number that is absent or None is left out.
    """
    table = _table("", safe_text(f"{result['split']} split"))
    for field, name, show in _EVAL_ROWS:
        if result.get(field) is not None:
            table.add_row(name, Text(show(result[field]), "bold"))
    return table


def dataset_table(metadata: Mapping[str, Any]) -> RenderableType:
    """A prepared dataset: its tokenizer, its splits, its sources and what was dropped.

    Args:
        metadata: the contents of `dataset_metadata.json`.
    """
    tokenizer = metadata["tokenizer"]
    line = Text.assemble(
        ("tokenizer ", "dim"),
        safe_text(str(tokenizer["type"])),
        ("  vocabulary ", "dim"),
        f"{tokenizer['vocab_size']:,}",
    )
    splits = _table("split", *_SPLIT_COLUMNS)
    for name, split in metadata["splits"].items():
        splits.add_row(Text(safe_text(name), "bold"), *(f"{split[column]:,}" for column in _SPLIT_COLUMNS))
    sources = _table("source", "weight", "documents", "kept")
    sources.add_column("format")
    sources.add_column("dropped")
    for source in metadata["sources"]:
        sources.add_row(
            Text(safe_text(source["name"]), "bold"),
            f"{source['weight']:g}",
            f"{source['documents']:,}",
            f"{source['kept']:,}",
            safe_text(source["format"]),
            _drops(source["dropped"]),
        )
    return Group(line, Text(), splits, Text(), sources)


def plan_table(rows: Iterable[tuple[str, str, str]]) -> RenderableType:
    """What a run is going to do.

    Args:
        rows: (what, value, remark); the remark may be empty.
    """
    table = Table.grid(padding=(0, 3, 0, 0))
    for what, value, remark in rows:
        table.add_row(Text(safe_text(what), "dim"), Text(safe_text(value), "bold"), safe_text(remark))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _drops(dropped: Mapping[str, int]) -> str:
    total = sum(dropped.values())
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in dropped.items() if count)
    return safe_text(f"{total:,} ({reasons})" if total else "0")
