"""A prepared dataset for people: table, lengths, samples with their special symbols; knows nothing of files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nima_cli.events import InputsCounted
from nima_cli.ui.console import safe_text
from nima_cli.ui.inputs_view import inputs_table
from nima_cli.ui.tables import dataset_table

_BAR = 40
_SHOWN = 3


class Mix(Protocol):
    """The part of one source in the train split."""

    @property
    def source(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def tokens(self) -> int: ...
    @property
    def share(self) -> float: ...
    @property
    def epoch_share(self) -> float: ...


class Segment(Protocol):
    """A stretch of a sample."""

    @property
    def text(self) -> str: ...
    @property
    def special(self) -> bool: ...
    @property
    def carries_loss(self) -> bool: ...


def dataset_report(
    metadata: Mapping[str, Any], mix: Sequence[Mix], histogram: Sequence[tuple[int, int, int]], *, verbose: bool
) -> RenderableType:
    """Counts, sources, drops, duplicates, the mix of an epoch, inputs, leaks, and how long the samples are.

    Args:
        metadata: the contents of `dataset_metadata.json`.
        mix: what the train split draws from each source.
        histogram: (least, greatest, samples) for lengths in tokens.
        verbose: also show every leak that is listed, the options and the hashes of the files.
    """
    train = metadata["splits"]["train"]
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    facts.add_row("loss on", _loss(metadata))
    facts.add_row("bytes per token", f"{train['bytes'] / train['tokens']:.2f}")
    facts.add_row("duplicates", safe_text(_duplicates(metadata["duplicates"])))
    facts.add_row("cleaned", safe_text(_counts(metadata["cleaning"])))
    for cut in metadata.get("contiguous", ()):
        facts.add_row("cut into parts", safe_text(_parts(cut)))
    parts = [dataset_table(metadata), Text(), facts, Text(), mix_table(mix)]
    inputs = [InputsCounted(**row) for row in metadata.get("inputs", ())]
    parts += [Text(), inputs_table(inputs)] if inputs else []
    leaks = metadata.get("leaks")
    parts += [Text(), leak_view(leaks, verbose=verbose)] if leaks else []
    return Group(*parts, Text(), _histogram(histogram), *([_details(metadata)] if verbose else []))


def _loss(metadata: Mapping[str, Any]) -> str:
    shown = "every token" if metadata["loss"] == "all" else "what the assistant says"
    without = metadata.get("zero_weight_messages", 0)
    return shown + (f", but for {without:,} messages of weight 0" if without else "")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count) or "nothing"


def _duplicates(found: Mapping[str, int | None]) -> str:
    shown = [
        f"{kind} {'not looked for' if found[kind] is None else format(found[kind], ',')}" for kind in ("exact", "near")
    ]
    if found.get("clusters"):
        shown.append(f"{found['clustered']:,} alike in {found['clusters']:,} clusters kept on one side of the split")
    return ", ".join(shown)


def _parts(cut: Mapping[str, Any]) -> str:
    """One large document, and what each split has of it."""
    parts = ", ".join(f"{split} {count:,}" for split, count in cut["characters"].items())
    return f"{cut['where']}: characters for {parts}; {cut['left_out']:,} between them left out"


def mix_table(mix: Sequence[Mix]) -> RenderableType:
    """What an epoch is made of, source by source."""
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("mix of an epoch")
    for heading in ("weight", "train tokens", "share of the text", "share of an epoch"):
        table.add_column(heading, justify="right")
    for one in mix:
        shares = (f"{share:.1%}" for share in (one.share, one.epoch_share))
        table.add_row(Text(safe_text(one.source), "bold"), f"{one.weight:g}", f"{one.tokens:,}", *shares)
    return table


def leak_view(leaks: Mapping[str, Any], *, verbose: bool) -> RenderableType:
    """What val and test share with train, and where the longest of it is."""
    lines: list[RenderableType] = [Text(f"runs of {leaks['run_tokens']} and more tokens shared with train", "dim")]
    for split in ("val", "test"):
        found = leaks[split]
        lines.append(
            Text.assemble(
                (f"  {split:<5}", "bold"),
                f"{found['runs']:,} runs, {found['tokens']:,} tokens, in {found['documents']:,} documents; "
                f"{found['near_duplicates']:,} between near duplicates",
            )
        )
        pairs = found["sources"][: None if verbose else _SHOWN]
        lines += [
            Text(safe_text(f"       {pair['runs']:,} from {pair['source']}, in train {pair['train_source']}"), "dim")
            for pair in pairs
        ]
        for example in found["examples"][: None if verbose else _SHOWN]:
            text = f"{example['tokens']:,} tokens of {example['where']} as in {example['train_where']}"
            lines.append(Padding(Text(safe_text(text), "dim", overflow="fold"), (0, 0, 0, 7)))
    return Group(*lines)


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
