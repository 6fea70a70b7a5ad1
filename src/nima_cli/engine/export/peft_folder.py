"""Writes the adapters of a LoRA run alone, as PEFT reads them.

The format: https://huggingface.co/docs/peft/developer_guides/checkpoint. PEFT puts them beside the weights of the model
that was tuned, which the folder names and does not hold.
"""

from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from nima_cli import __version__
from nima_cli.engine.export import hf, hf_files, places, safetensors_file, verify
from nima_cli.engine.export.source import DTYPES, Adapters, Source, Written
from nima_cli.engine.model.layout import hf_name
from nima_cli.engine.model.lora import Lora, merged
from nima_cli.errors import CheckpointError
from nima_cli.files import atomic_write, write_json, write_text

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
NAMES = (CONFIG, WEIGHTS, places.CARD)


def export(source: Source, path: Path, card: str) -> Written:
    """Write the folder `path` atomically; raises `CheckpointError` for a checkpoint without adapters."""
    places.check_folder(path, NAMES, WEIGHTS)
    adapters = _rounded_adapters(source, str(path))
    tensors = {_name(name): tensor for name, tensor in adapters.tensors.items()}
    with places.new_folder(path) as folder:
        check = partial(safetensors_file.read_back, expected=tensors, where=str(path))
        with atomic_write(folder / WEIGHTS, verify=check) as stream:
            safetensors_file.write_tensors(Path(stream.name), tensors, places.safetensors_metadata(__version__))
        write_json(folder / CONFIG, _config(source, adapters.lora))
        write_text(folder / places.CARD, card)
        verified, unverified = _read_back(folder, source, adapters, str(path))
    count = sum(tensor.numel() for tensor in tensors.values())
    return Written(tuple(path / name for name in NAMES), count, verified, unverified, [])


def _rounded_adapters(source: Source, where: str) -> Adapters:
    if source.adapters is None:
        raise CheckpointError(
            f"{where}: there are no adapters in this checkpoint: it was not trained with LoRA",
            hint="use `format=hf`, which writes all weights",
        )
    tensors = {name: tensor.to(DTYPES[source.dtype]) for name, tensor in source.adapters.tensors.items()}
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{where}: `{name}` has values beyond {source.dtype}", hint="use `dtype=bfloat16`")
    return replace(source.adapters, tensors=tensors)


def _name(name: str) -> str:
    """PEFT's name of an adapter matrix: it wraps the model once, and transformers has a `model.` of its own."""
    return f"base_model.model.{hf_name(name)}.weight"


def _config(source: Source, lora: Lora) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": source.base_repository,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": sorted(lora.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }


def _read_back(path: Path, source: Source, adapters: Adapters, where: str) -> tuple[list[str], list[str]]:
    """Put the folder beside the weights that were tuned with PEFT, if it is installed, and compare the logits."""
    verified = [f"read back by safetensors: {len(adapters.tensors)} equal tensors"]
    missing = [package for package in ("transformers", "peft") if find_spec(package) is None]
    if missing:
        return verified, [f"logits in PEFT: {missing[0]} is not installed (pip install {missing[0]}, export again)"]
    import peft
    import transformers

    with hf.quietly(transformers):
        values = hf_files.config(source, {}, where)
        config = transformers.AutoConfig.for_model(**values)
        model = transformers.AutoModelForCausalLM.from_config(config).float()
        model.load_state_dict({hf_name(name): tensor.float() for name, tensor in adapters.base.items()}, strict=False)
        tuned = peft.PeftModel.from_pretrained(model, path).eval()
    rows = verify.sample_rows(source.tokenizer, source.shape.context_length)
    expected = verify.own_logits(source.shape, merged(adapters.base, adapters.tensors, adapters.lora), rows)
    told = verify.compare_logits(hf.logits_of(tuned, rows), expected, where)
    return [*verified, f"loaded by peft {peft.__version__} beside the weights that were tuned: {told}"], []
