"""Fills the figures of a model into its card, whose text is in `cards/`."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nima_cli import __version__
from nima_cli.engine.export.places import CARD_MARK
from nima_cli.engine.export.source import Source
from nima_cli.events import perplexity

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_LAYOUTS = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3 (dense)"}


def model_card(source: Source, kind: str, file_name: str, verified: Sequence[str] = ()) -> str:
    """The card as Markdown, with the front matter that model hubs read.

    Args:
        kind: hf, gguf, safetensors or peft.
        file_name: of the exported file or folder.
        verified: what was compared after reading the export back, if that has been done.
    """
    checked = "".join(f"- {clause}\n" for clause in verified)
    library = {"hf": "library_name: transformers\n", "peft": "library_name: peft\n"}
    return _text("card").format(
        licence=source.licence,
        library=library.get(kind, ""),
        base=_base_line(source),
        mark=CARD_MARK,
        title=_inline(source.name),
        what=_what(source, kind),
        size=_table(("", ""), _size(source)),
        data="\n\n".join(_data(source)),
        measured=_table(("", ""), _measured(source.header)),
        load=_load(source, kind, file_name),
        terms=" ".join(_terms(source)),
        checked=f"\n## Checked after exporting\n\n{checked}" if checked else "",
    )


def _base_line(source: Source) -> str:
    """The front matter for the model that it was tuned from, if that is an address on the hub."""
    base = source.base_repository
    return f"base_model: {base}\n" if base is not None and _REPOSITORY.fullmatch(base) else ""


def _what(source: Source, kind: str) -> str:
    if source.pretrained is None:
        return _text("what_scratch").format(version=__version__).rstrip()
    base, trained = _inline(source.pretrained), "step" in source.header
    text = _text("what_tuned" if trained else "what_converted")
    return text.format(base=base, version=__version__, how=_how(source, kind)).rstrip()


def _how(source: Source, kind: str) -> str:
    if source.adapters is None:
        return "all of its weights were trained"
    lora = source.adapters.lora
    what = f"adapters (LoRA of rank {lora.rank} and alpha {lora.alpha:g} on {', '.join(lora.targets)}) were trained"
    return f"{what}, and are here without it" if kind == "peft" else f"{what}, and are merged into its weights"


def _load(source: Source, kind: str, file_name: str) -> str:
    """How to load it; models that were tuned have a tokenizer of their own kind."""
    if kind == "peft":
        return _text(kind).format(name=file_name, base=source.base_repository or "the model that was tuned").rstrip()
    own = kind == "hf" or source.tokenizer.kind != "hf"
    return _text(kind if own else f"{kind}_hf").format(name=file_name).rstrip()


def _terms(source: Source) -> Iterator[str]:
    yield _text("no_licence").rstrip() if source.licence == "unknown" else f"`{source.licence}`"
    if source.pretrained is not None:
        licence = source.header.get("licence")
        known = f"is under `{_inline(licence)}`" if licence is not None else "has a licence that nima does not know"
        yield f"The model that it was tuned from {known}."


def _text(name: str) -> str:
    return (Path(__file__).parent / "cards" / f"{name}.md").read_text("utf-8")


def _size(source: Source) -> Iterator[tuple[str, str]]:
    shape = source.shape
    yield "parameters", f"{shape.parameters():,}"
    yield "layout", _LAYOUTS[source.layout]
    yield "layers, width, heads", f"{shape.n_layers}, {shape.d_model}, {shape.n_heads} ({shape.n_kv_heads} for keys)"
    yield "context", f"{shape.context_length:,} tokens"
    kind = source.tokenizer.kind if source.tokenizer.kind != "hf" else "of the model that it was tuned from"
    yield "vocabulary", f"{shape.vocab_size:,} ({kind})"
    yield "type of the weights", source.dtype


def _data(source: Source) -> Iterator[str]:
    fingerprint = source.header.get("dataset_sha256", "unknown")
    dataset: Mapping[str, Any] | None = source.header.get("dataset")
    if dataset is None:
        yield f"The checkpoint does not say what it learned from. SHA-256 of the dataset: `{fingerprint}`."
        return
    sources = [
        (_inline(one["name"]), _inline(one["format"]), f"{one['kept']:,}", f"{one['bytes']:,}", f"{one['weight']:g}")
        for one in dataset["sources"]
    ]
    yield _table(("source", "format", "documents", "bytes", "weight"), sources)
    splits = [
        (_inline(name), f"{one['documents']:,}", f"{one['tokens']:,}", f"{one['bytes']:,}")
        for name, one in dataset["splits"].items()
    ]
    yield _table(("split", "documents", "tokens", "bytes"), splits)
    yield f"SHA-256 of the dataset: `{fingerprint}`."


def _measured(header: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, name in (("step", "steps"), ("tokens", "tokens trained on")):
        if key in header:
            yield name, f"{header[key]:,}"
    best: Mapping[str, Any] = header.get("best", {})
    loss = best.get("loss")
    if loss is not None and best.get("step") == header.get("step"):
        yield "validation loss", f"{loss:.4f} nats per token"
        yield "validation perplexity", f"{perplexity(loss):.2f}"
    elif loss is not None:
        yield "best validation loss of the run", f"{loss:.4f} nats per token, at step {best.get('step')}"


def _table(head: Sequence[str], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _inline(text: str) -> str:
    """Escape a name for a heading or a cell."""
    return "".join(f"\\{c}" if c in r"\`*_[]<>|#" else c if c.isprintable() else " " for c in text)
