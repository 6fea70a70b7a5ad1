"""Opens a folder in the format of Hugging Face transformers: its config, its weights in safetensors, its tokenizer."""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

from nima_cli.engine.checkpoint.archive import shown
from nima_cli.engine.model.layout import hf_name
from nima_cli.engine.pretrained.hf.config import read_config
from nima_cli.engine.pretrained.hf.safetensors_header import read_header
from nima_cli.engine.pretrained.hf.tokenizer_files import read_tokenizer_files
from nima_cli.engine.pretrained.strict import damaged, member, open_file, parse_json, read_member
from nima_cli.engine.pretrained.weights import PretrainedModel, StoredTensor, check_fit
from nima_cli.errors import CheckpointError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
ADAPTER = "adapter_config.json"
_SHARD = re.compile(r"[\w.-]+\.safetensors")
# Numbers that old versions of transformers saved, and that follow from the config.
_COMPUTED = ".rotary_emb.inv_freq"


def open_folder(folder: Path, files: contextlib.ExitStack) -> PretrainedModel:
    """The model in a folder, whose weights `files` keeps open and nobody has read.

    Raises:
        CheckpointError: it holds no model that nima reads.
        ResourceError: the system refused to read it.
    """
    if not (folder / CONFIG).exists():
        if (folder / ADAPTER).exists():
            raise CheckpointError(
                f"{folder}: holds adapters (`{ADAPTER}`), not a whole model", hint="merge them into their model first"
            )
        raise CheckpointError(
            f"{folder}: no `{CONFIG}`", hint="give a folder that transformers would load, or a `.gguf` file"
        )
    where = str(folder / CONFIG)
    config = parse_json(read_member(folder, CONFIG), where)
    layout, shape = read_config(config, where)
    found = {}
    for tensor in _tensors(folder, files).values():
        name = tensor.name.removeprefix("model.")
        if name in found:
            raise damaged(folder, f"`{shown(name)}` is there twice")
        if not name.endswith(_COMPUTED):
            found[name] = tensor
    head = found.pop("lm_head.weight") if shape.tie_embeddings and "lm_head.weight" in found else None
    return PretrainedModel(
        path=folder,
        format="hf",
        layout=layout,
        shape=shape,
        tensors=check_fit(folder, shape, found, hf_name),
        tokenizer_files=read_tokenizer_files(folder, config),
        tied_head=head,
    )


def _tensors(folder: Path, files: contextlib.ExitStack) -> Mapping[str, StoredTensor]:
    """The tensors of all files by their names; one file, or those that the index names."""
    if (folder / WEIGHTS).exists():
        return _header(folder, WEIGHTS, files)
    if not (folder / INDEX).exists():
        raise _no_weights(folder)
    where = folder / INDEX
    index = parse_json(read_member(folder, INDEX), where)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places:
        raise damaged(where, "it has no `weight_map`")
    for shard in places.values():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise CheckpointError(f"{where}: `{shown(shard)}` is not the name of a safetensors file in this folder")
    shards = sorted(set(places.values()))
    missing = [shard for shard in shards if not (folder / shard).exists()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(
            f"{folder}: of {len(shards)} files of weights {len(missing)} are not here: {', '.join(missing[:3])}{more}",
            hint="fetch the model again",
        )
    return _joined(where, places, {shard: _header(folder, shard, files) for shard in shards})


def _joined(
    where: Path, places: Mapping[str, str], shards: Mapping[str, Mapping[str, StoredTensor]]
) -> dict[str, StoredTensor]:
    """The tensors of all shards, which must be those that the index says."""
    for name, shard in places.items():
        if name not in shards[shard]:
            raise damaged(where, f"`{shown(name)}` is not in {shard}")
    tensors: dict[str, StoredTensor] = {}
    for shard, found in shards.items():
        for name, tensor in found.items():
            if places.get(name) != shard:
                raise damaged(where, f"`{shown(name)}` is in {shard}, which it does not say")
            tensors[name] = tensor
    return tensors


def _header(folder: Path, name: str, files: contextlib.ExitStack) -> dict[str, StoredTensor]:
    return read_header(files.enter_context(open_file(member(folder, name))))


def _no_weights(folder: Path) -> CheckpointError:
    pickles = [name for name in PICKLES if (folder / name).exists()]
    if pickles:
        return CheckpointError(
            f"{folder}: its weights are a pickle (`{pickles[0]}`), which can run programs; nima reads safetensors only",
            hint="where you trust it, `save_pretrained` of transformers writes safetensors",
        )
    return CheckpointError(f"{folder}: neither `{WEIGHTS}` nor `{INDEX}` is there")
