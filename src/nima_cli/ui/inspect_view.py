"""A prepared dataset for people: table, lengths, samples with their special symbols; knows nothing of files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.text import Text

from nima_cli.ui.console import safe_text
from nima_cli.ui.tables import dataset_table

_BAR = 40


class Segment(Protocol):
    """A stretch of a sample."""

    @property
    def text(self) -> str: ...
    @property
    def special(self) -> bool: ...
    @property
    def carries_loss(self) -> bool: ...


def dataset_report(
    metadata: Mapping[str, Any], histogram: Sequence[tuple[int, int, int]], *, verbose: bool
) -> RenderableType:
    """Counts, sources, drops, what cleaning did, and how long the samples are.

    Args:
        metadata: the contents of `dataset_metadata.json`.
        histogram: (least, greatest, samples) for lengths in tokens.
        verbose: also show the options and the hashes of the files.
    """
    train = metadata["splits"]["train"]
    cleaning = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in metadata["cleaning"].items())
    duplicates = metadata["duplicates"]["exact"]
    facts = Text.assemble(
        ("loss on ", "dim"), "every token" if metadata["loss"] == "all" else "what the assistant says",
        ("  bytes per token ", "dim"), f"{train['bytes'] / train['tokens']:.2f}",
        ("  exact duplicates ", "dim"), "not looked for" if duplicates is None else f"{duplicates:,}",
        ("\ncleaned ", "dim"), safe_text(cleaning),
    )  # fmt: skip
    parts = [dataset_table(metadata), Text(), facts, Text(), _histogram(histogram)]
    return Group(*parts, *([_details(metadata)] if verbose else []))


def _details(metadata: Mapping[str, Any]) -> Text:
    options = "".join(f"  {key} = {value}\n" for key, value in metadata["options"].items())
    hashes = "".join(f"  {digest}  {name}\n" for name, digest in metadata["files"].items())
    return Text(safe_text(f"options\n{options}sha256\n{hashes}"), "dim")


def _histogram(rows: Sequence[tuple[int, int, int]]) -> Text:
    most = max(count for _, _, count in rows)
    text = Text("tokens in a sample\n", "dim")
    for least, greatest, count in rows:
        bar = "#" * -(-_BAR * count // most)
        text.append(f"{f'{least}-{greatest}':>13}  {count:>9,}  {bar}\n", "none")
    return text


def sample_text(head: str, segments: Iterable[Segment]) -> Text:
    """One sample as the model sees it: green carries loss, special symbols stand out."""
    text = Text(f"{safe_text(head)}\n", "bold")
    for segment in segments:
        style = "green" if segment.carries_loss else "none"
        text.append(safe_text(segment.text), f"{style} reverse" if segment.special else style)
    return text.append("\n")
