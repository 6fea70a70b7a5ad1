"""Models that others trained, as tables."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from nima_cli.ui import formatting
from nima_cli.ui.console import safe_text
from nima_cli.ui.tables import table

_HEADINGS = ("name", ">parameters", ">context", "kind", "licence", "from", ">download", "here", "tested")


def known_table(models: Iterable[Mapping[str, Any]]) -> RenderableType:
    """The rows of `nima models list --json`."""
    rows = (
        (
            model["name"],
            formatting.count(model["parameters"]),
            f"{model['context_length']:,}",
            model["kind"],
            model["licence"],
            model["source"],
            formatting.size(model["bytes"]),
            "yes" if model["path"] is not None else "no",
            "yes" if model["tested"] else "untested",
        )
        for model in models
    )
    return table(_HEADINGS, rows, styles=("bold",), gap=2)


def model_view(facts: Mapping[str, Any], *, verbose: bool) -> RenderableType:
    """What `nima models show --json` prints; `verbose` adds the chat template."""
    found = [*_identity(facts), *_contents(facts), *map(_way, facts["training"])]
    rows = table(("", "", ""), found, styles=("dim", "bold"))
    template = facts.get("chat_template")
    return Group(rows, Text(), Text(safe_text(template))) if verbose and template else rows


def _identity(facts: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield "model", facts["name"], facts.get("kind", "")
    if facts.get("source"):
        yield "from", facts["source"], "tested with nima" if facts["tested"] else "not tested with nima yet"
    if facts.get("pretrained"):
        yield "made from", facts["pretrained"], ""
    if facts["path"] is not None:
        yield "here", formatting.size(facts["file_bytes"]), facts["path"]
    else:
        yield "here", "no", f"`nima models get {facts['name']}` fetches {formatting.size(facts['download_bytes'])}"
    if "licence" in facts:
        yield "licence", facts["licence"] or "unknown", "" if facts["licence"] else "the files do not say"


def _contents(facts: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    shape, stored = facts["shape"], facts.get("stored_types", {})
    heads = f"{shape['n_layers']} layers, {shape['d_model']} wide, {shape['n_heads']} heads of {shape['head_dim']}"
    heads += f" ({shape['n_kv_heads']} for keys and values)" if shape["n_kv_heads"] != shape["n_heads"] else ""
    if "layout" in facts:
        yield "layout", facts["layout"], f"{facts['format']}, numbers in {', '.join(stored)}"
    yield "parameters", f"{facts['parameters']:,}", heads
    yield "context", f"{shape['context_length']:,} tokens", ""
    if "tokenizer" in facts:
        yield "tokenizer", f"{facts['tokenizer']['tokens']:,} tokens", facts["tokenizer"]["kind"]
        yield "chat template", "yes" if facts["chat_template"] else "none", "" if facts["chat_template"] else _NO_CHAT
    if "step" in facts:
        yield "trained", f"{facts['step']:,} steps", f"{facts.get('tokens', 0):,} tokens"


_NO_CHAT = "it goes on with a text, and answers nothing until it is tuned on chats"
_WAYS = {"full": "memory to train it", "lora": "the same with LoRA"}


def _way(way: Mapping[str, Any]) -> tuple[str, str, str]:
    """What one way to train the model takes."""
    free, batch = way["memory_available_bytes"], f"{way['sequences']} x {way['sequence_length']} tokens at once"
    there = f"{formatting.size(free)} available" if free is not None else "unknown how much is available"
    verdict = "fits"
    if not way["fits"]:
        verdict = f"fits in {way['pieces']} pieces" if way["pieces"] else "does not fit"
    where = f"{way['device']}, {way['dtype']}"
    return _WAYS[way["way"]], formatting.size(way["memory_bytes"]), f"{verdict}; {there} ({where}, {batch})"
