"""A prepared dataset as tables, and its samples with their special symbols."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nima_cli.events import InputsCounted
from nima_cli.ui.console import safe_text
from nima_cli.ui.inputs_view import inputs_table
from nima_cli.ui.tables import stacked, table

_BAR = 40
_LEAKS_SHOWN = 3
_SPLIT_COLUMNS = (
    ("split", "split", ""),
    *((f">{name}", name, ",") for name in ("documents", "samples", "tokens", "characters", "bytes")),
)
_SOURCE_COLUMNS = (
    ("source", "name", ""),
    (">weight", "weight", "g"),
    (">documents", "documents", ","),
    (">kept", "kept", ","),
    ("format", "format", ""),
    ("dropped", "dropped", ""),
)
_MIX_COLUMNS = (
    ("mix of an epoch", "source", ""),
    (">weight", "weight", "g"),
    (">train tokens", "tokens", ","),
    (">share of the text", "share", ".1%"),
    (">share of an epoch", "epoch_share", ".1%"),
)


def dataset_view(result: Mapping[str, Any], *, verbose: bool) -> RenderableType:
    """What `nima data inspect --json` prints, without samples; `verbose` adds all leaks, options and file hashes."""
    kind, size = safe_text(str(result["tokenizer"]["type"])), f"{result['tokenizer']['vocab_size']:,}"
    leaks, inputs = result.get("leaks"), [InputsCounted(**row) for row in result.get("inputs", ())]
    parts = [
        Text.assemble(("tokenizer ", "dim"), kind, ("  vocabulary ", "dim"), size),
        _columns(({"split": name, **split} for name, split in result["splits"].items()), _SPLIT_COLUMNS),
        _columns(({**one, "dropped": _drops(one["dropped"])} for one in result["sources"]), _SOURCE_COLUMNS),
        table(("", ""), _facts(result), styles=("dim",), gap=2),
        _columns(result["mix"], _MIX_COLUMNS),
        *([inputs_table(inputs)] if inputs else []),
        *([_leaks(leaks, shown=None if verbose else _LEAKS_SHOWN)] if leaks else []),
        _histogram(result["lengths"]),
    ]
    return Group(stacked(*parts), *([_details(result)] if verbose else []))


def sample_view(sample: Mapping[str, Any]) -> Text:
    """A sample of `nima data inspect --json`: text with loss is green, special symbols are reversed."""
    head = (
        f"{sample['split']} sample {sample['number']}, {sample['kind']} from {sample['source']}: "
        f"{sample['tokens']} tokens, {sample['loss_tokens']} with loss"
    )
    text = Text(f"{safe_text(head)}\n", "bold")
    for segment in sample["segments"]:
        style = "green" if segment["carries_loss"] else "none"
        text.append(safe_text(segment["text"]), f"{style} reverse" if segment["special"] else style)
    return text.append("\n")


def _columns(items: Iterable[Mapping[str, Any]], columns: Sequence[tuple[str, str, str]]) -> Table:
    """A table of items; `columns` are (heading, key, format)."""
    rows = [[format(item[key], form) for _, key, form in columns] for item in items]
    return table([heading for heading, _, _ in columns], rows, styles=("bold",))


def _drops(dropped: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in dropped.items() if count)
    return f"{sum(dropped.values()):,}{f' ({reasons})' if reasons else ''}"


def _facts(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    train, without = metadata["splits"]["train"], metadata.get("zero_weight_messages", 0)
    loss = "every token" if metadata["loss"] == "all" else "what the assistant says"
    yield "loss on", loss + (f", but for {without:,} messages of weight 0" if without else "")
    yield "bytes per token", f"{train['bytes'] / train['tokens']:.2f}"
    yield "duplicates", _duplicates(metadata["duplicates"])
    cleaned = (f"{name.replace('_', ' ')} {count:,}" for name, count in metadata["cleaning"].items() if count)
    yield "cleaned", ", ".join(cleaned) or "nothing"
    for cut in metadata.get("contiguous", ()):  # large documents of which each split has a part
        parts = ", ".join(f"{split} {count:,}" for split, count in cut["characters"].items())
        yield "cut into parts", f"{cut['where']}: characters for {parts}; {cut['left_out']:,} between them left out"


def _duplicates(found: Mapping[str, int | None]) -> str:
    counts = ((kind, found[kind]) for kind in ("exact", "near"))
    shown = [f"{kind} {'not looked for' if count is None else format(count, ',')}" for kind, count in counts]
    if found.get("clusters"):
        shown.append(f"{found['clustered']:,} alike in {found['clusters']:,} clusters kept on one side of the split")
    return ", ".join(shown)


def _leaks(leaks: Mapping[str, Any], *, shown: int | None) -> RenderableType:
    lines: list[RenderableType] = [Text(f"runs of {leaks['run_tokens']} and more tokens shared with train", "dim")]
    for split in ("val", "test"):
        found = leaks[split]
        counts = (
            f"{found['runs']:,} runs, {found['tokens']:,} tokens, in {found['documents']:,} documents; "
            f"{found['near_duplicates']:,} between near duplicates"
        )
        lines.append(Text.assemble((f"  {split:<5}", "bold"), counts))
        details = [
            f"{pair['runs']:,} from {pair['source']}, in train {pair['train_source']}"
            for pair in found["sources"][:shown]
        ]
        details += [
            f"{example['tokens']:,} tokens of {example['where']} as in {example['train_where']}"
            for example in found["examples"][:shown]
        ]
        lines += [Padding(Text(safe_text(line), "dim", overflow="fold"), (0, 0, 0, 7)) for line in details]
    return Group(*lines)


def _histogram(lengths: Sequence[Mapping[str, int]]) -> Text:
    most = max(row["samples"] for row in lengths)
    text = Text("tokens in a sample\n", "dim")
    for row in lengths:
        span, bar = f"{row['from']}-{row['to']}", "#" * -(-_BAR * row["samples"] // most)
        text.append(f"{span:>13}  {row['samples']:>9,}  {bar}\n", "none")
    return text


def _details(metadata: Mapping[str, Any]) -> Text:
    options = "".join(f"  {key} = {value}\n" for key, value in metadata["options"].items())
    hashes = "".join(f"  {digest}  {name}\n" for name, digest in metadata["files"].items())
    return Text(safe_text(f"options\n{options}sha256\n{hashes}"), "dim")
