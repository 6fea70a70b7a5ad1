"""Reads models that others trained into checkpoints in memory."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.data.tokenizer.hf_file import bundle
from nima_cli.engine.data.tokenizer.load import tokenizer_from_bytes
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.machine_memory import free_memory
from nima_cli.engine.model.layout import rope_layout
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.pretrained.gguf.model import open_gguf
from nima_cli.engine.pretrained.hf.folder import ADAPTER, CONFIG, INDEX, PICKLES, WEIGHTS, open_folder
from nima_cli.engine.pretrained.weights import PretrainedModel, check_memory, loading_memory, read
from nima_cli.errors import CheckpointError
from nima_cli.files import explaining

_GGUF = b"GGUF"


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """The kind and the number of tokens of a tokenizer, and whether it says how to write a chat."""

    kind: str
    size: int
    chat_template: bool


@dataclass(frozen=True, slots=True)
class PretrainedFacts:
    """What can be said of a model without reading its weights.

    Attributes:
        name: that of its folder or file.
        format: hf or gguf.
        layout: what transformers calls such models: llama, mistral, qwen2 or qwen3.
        tokenizer_proto: all of the tokenizer, as a checkpoint holds it.
        stored_types: how many numbers the file keeps in each type, the most first.
        file_bytes: of the files of the weights.
        memory_bytes: what loading it takes.
        licence: None if the file does not say.
    """

    path: Path
    name: str
    format: str
    layout: str
    shape: ModelShape
    tokenizer: TokenizerFacts
    tokenizer_proto: bytes
    stored_types: Mapping[str, int]
    file_bytes: int
    memory_bytes: int
    licence: str | None


def is_pretrained(path: Path) -> bool:
    """Whether a path looks like a model that others trained, readable or not."""
    with explaining(path, "look for a model there"):
        if path.is_dir():
            return any((path / name).exists() for name in (CONFIG, WEIGHTS, INDEX, *PICKLES, ADAPTER))
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return path.suffix.lower() == ".gguf" or file.read(len(_GGUF)) == _GGUF


def load_pretrained(path: Path, *, name: str | None = None) -> Checkpoint:
    """A folder of Hugging Face transformers or a GGUF file as a checkpoint.

    Its weights are those of the file: float32, bfloat16 or float16 as they are stored, float32 where they were
    quantised. Its header has the model's `name` as `pretrained`, by default that of the path, its `layout` and its
    `licence`.

    Raises:
        CheckpointError: it is no model that nima reads, is damaged or hostile, or its tokenizer does not fit.
        ResourceError: the system refused to read it, a package is missing, or it does not fit into memory.
    """
    with _opened(path) as (model, tokenizer):
        check_memory(path, model.shape, model.tensors, free_memory())
        tensors = {key: _weights(model, key) for key in model.tensors}
        if model.tied_head is not None and not torch.equal(read(model.tied_head), tensors["embed_tokens.weight"]):
            raise CheckpointError(
                f"{path}: `tie_word_embeddings` is true, but `{model.tied_head.name}` is not the embedding",
                hint=f"set it to false in `{CONFIG}`",
            )
        header = {"pretrained": name or _name(path), "layout": model.layout, "licence": model.licence}
        return Checkpoint(shape=model.shape, model=tensors, tokenizer_proto=tokenizer.proto, header=header)


def inspect(path: Path) -> PretrainedFacts:
    """What a folder or file holds, from its headers alone; raises as `load_pretrained`."""
    with _opened(path) as (model, tokenizer):
        types: Counter[str] = Counter()
        for tensor in model.tensors.values():
            types[tensor.dtype] += tensor.numbers
        sizes = {tensor.file.name: tensor.file.seek(0, 2) for tensor in model.tensors.values()}
        return PretrainedFacts(
            path=path,
            name=_name(path),
            format=model.format,
            layout=model.layout,
            shape=model.shape,
            tokenizer=TokenizerFacts(tokenizer.kind, tokenizer.vocab_size, _has_template(model.tokenizer_files)),
            tokenizer_proto=tokenizer.proto,
            stored_types=dict(types.most_common()),
            file_bytes=sum(sizes.values()),
            memory_bytes=loading_memory(model.shape, model.tensors),
            licence=model.licence,
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[PretrainedModel, Tokenizer]]:
    """A model whose tensors can be read within the block, and its tokenizer, which fits."""
    with explaining(path, "read"), contextlib.ExitStack() as files:
        model = open_folder(path, files) if path.is_dir() else open_gguf(path, files)
        tokenizer, rows = tokenizer_from_bytes(bundle(model.tokenizer_files), where=str(path)), model.shape.vocab_size
        if tokenizer.vocab_size > rows:
            problem = f"its tokenizer has {tokenizer.vocab_size:,} tokens, its embedding only {rows:,} rows"
            raise CheckpointError(f"{path}: {problem}")
        yield model, tokenizer


def _weights(model: PretrainedModel, name: str) -> torch.Tensor:
    values = read(model.tensors[name])
    return rope_layout(name, values, model.shape, back=True) if model.format == "gguf" else values


def _name(path: Path) -> str:
    named = path if path.name not in ("", "..") else path.resolve()
    name = named.name if path.is_dir() else named.stem
    return "".join(character if character.isprintable() else "_" for character in name) or "pretrained"


def _has_template(files: Mapping[str, str]) -> bool:
    if "chat_template.jinja" in files:
        return True
    config: Any = json.loads(files.get("tokenizer_config.json", "{}"))
    return bool(config.get("chat_template"))
