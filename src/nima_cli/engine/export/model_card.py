"""The model card: what the model is, learned from and reached, and how to load it; knows facts, no weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nima_cli import __version__
from nima_cli.engine.export.places import CARD_MARK
from nima_cli.engine.export.source import Source
from nima_cli.events import perplexity

_LOAD = {
    "hf": """With Hugging Face transformers, no code of nima is needed:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")
prompt = tokenizer("To create a", return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=64)[0], skip_special_tokens=True))
```

Text from others may spell the model's special symbols. Encoded with `split_special_tokens=True`, it stays text.""",
    "gguf": """With llama.cpp, or any program built on it:

```sh
llama-cli -m {name} -p "To create a"
llama-server -m {name}
```

In llama.cpp the character U+2581, which SentencePiece uses as its mark for a space, is read as a space.""",
    "safetensors": """The weights have the names of Hugging Face's `Qwen3Model` or `LlamaModel`; the metadata holds
the sizes (`model_shape`), the SentencePiece tokenizer (`tokenizer_base64`) and the `facts` of the training:

```python
import base64, json
from safetensors import safe_open

with safe_open("{name}", framework="pt") as file:
    shape = json.loads(file.metadata()["model_shape"])
    tokenizer = base64.b64decode(file.metadata()["tokenizer_base64"])
    weights = {{name: file.get_tensor(name) for name in file.keys()}}
```""",
}


def model_card(source: Source, kind: str, file_name: str, verified: Sequence[str] = ()) -> str:
    """The card as Markdown with the front matter that model hubs read.

    Args:
        kind: hf, gguf or safetensors.
        file_name: of the exported file or folder.
        verified: what was compared after reading the export back, where that is known when the card is written.
    """
    blocks = [
        _front_matter(source, kind),
        CARD_MARK,
        f"# {_inline(source.name)}",
        "A small GPT for technical text, trained from scratch with "
        f"nima {__version__} on the data below. It knows that data and nothing else, and can be wrong about it.",
        "## Size",
        _table(("", ""), _size(source)),
        "## Data",
        *_data(source),
        "## Measured",
        *_measured(source),
        "## How to load it",
        _LOAD[kind].format(name=file_name),
        "## Licence",
        _licence(source),
    ]
    if verified:
        blocks += ["## Checked after exporting", "\n".join(f"- {clause}" for clause in verified)]
    return "\n\n".join(blocks) + "\n"


def _front_matter(source: Source, kind: str) -> str:
    library = {"hf": "library_name: transformers\n"}.get(kind, "")
    return f"---\nlicense: {source.licence}\n{library}pipeline_tag: text-generation\ntags:\n- nima\n---"


def _size(source: Source) -> Iterator[tuple[str, str]]:
    shape = source.shape
    yield "parameters", f"{shape.parameters():,}"
    yield "layout", "Qwen3 (dense)" if shape.qk_norm else "Llama"
    yield "layers, width, heads", f"{shape.n_layers}, {shape.d_model}, {shape.n_heads} ({shape.n_kv_heads} for keys)"
    yield "context", f"{shape.context_length:,} tokens"
    yield "vocabulary", f"{shape.vocab_size:,} ({source.tokenizer.kind})"
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


def _measured(source: Source) -> Iterator[str]:
    header = source.header
    rows = [
        (name, f"{header[key]:,}")
        for key, name in (("step", "steps"), ("tokens", "tokens trained on"))
        if key in header
    ]
    best: Mapping[str, Any] = header.get("best", {})
    loss = best.get("loss")
    if loss is not None and best.get("step") == header.get("step"):
        rows += [
            ("validation loss", f"{loss:.4f} nats per token"),
            ("validation perplexity", f"{perplexity(loss):.2f}"),
        ]
    elif loss is not None:
        rows.append(("best validation loss of the run", f"{loss:.4f} nats per token, at step {best.get('step')}"))
    yield _table(("", ""), rows)
    yield "`nima eval --split test` gives the figures on documents that neither training nor stopping has seen."


def _licence(source: Source) -> str:
    if source.licence == "unknown":
        return "Not stated. What the documents it learned from permit decides; name one with `nima export --license`."
    return f"`{source.licence}`"


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _inline(text: str) -> str:
    """A name from outside as it stands, in a heading or a cell."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return "".join(f"\\{character}" if character in r"\`*_[]<>|#" else character for character in printable)
