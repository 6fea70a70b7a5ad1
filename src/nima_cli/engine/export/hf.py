"""A model as a folder that Hugging Face transformers loads without any code of ours."""

import json
from pathlib import Path
from typing import Any

from nima_cli.engine.data.tokenizer.sentencepiece_file import BOS, CONTROL_SYMBOLS, EOS, PAD, UNKNOWN
from nima_cli.engine.export import hf_check, places, safetensors_file
from nima_cli.engine.export.chat_template import CHAT_TEMPLATE
from nima_cli.engine.export.source import Source
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.model.gpt import NORM_EPSILON
from nima_cli.errors import CheckpointError
from nima_cli.files import write_json, write_text

CARD = "README.md"
NAMES = (
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "chat_template.jinja", CARD,
)  # fmt: skip


def export(source: Source, path: Path, card: str) -> tuple[list[str], list[str]]:
    """Write the folder `path`, all or nothing; returns what reading it back showed, and what could not be checked.

    Raises:
        InputError: something else is there.
        CheckpointError: the format cannot say this tokenizer, or what was read back differs.
        ResourceError: a package is missing, or the disk refused.
    """
    places.check_folder(path, NAMES)
    tokenizer = _tokenizer(source, str(path))
    with places.new_folder(path) as folder:
        safetensors = {_name(name): tensor for name, tensor in source.tensors.items()}
        metadata = {"format": "pt", places.SAFETENSORS_MARK: source.facts()["nima_version"]}
        places.write_file(
            folder / "model.safetensors",
            lambda part: safetensors_file.write(part, safetensors, metadata),
            verify=lambda part: hf_check.weights(part, source, _name, str(path)),
        )
        write_json(folder / "config.json", _config(source))
        write_json(folder / "generation_config.json", _generation_config(source))
        write_json(folder / "tokenizer.json", tokenizer)
        write_json(folder / "tokenizer_config.json", _tokenizer_config(source))
        write_json(folder / "special_tokens_map.json", _special_tokens())
        write_text(folder / "chat_template.jinja", CHAT_TEMPLATE)
        write_text(folder / CARD, card)
        return hf_check.folder(folder, source, str(path))


def _name(name: str) -> str:
    """nima's name of a tensor to that of the causal model."""
    return name if name.startswith("lm_head") else f"model.{name}"


def _config(source: Source) -> dict[str, Any]:
    shape, tokenizer = source.shape, source.tokenizer
    kind, extra = ("qwen3", {}) if shape.qk_norm else ("llama", {"mlp_bias": False})
    return {
        "architectures": ["Qwen3ForCausalLM" if shape.qk_norm else "LlamaForCausalLM"],
        "model_type": kind,
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_ff,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context_length,
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": shape.rope_theta,
        "attention_bias": False,
        "tie_word_embeddings": shape.tie_embeddings,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
        "torch_dtype": source.dtype,
        **extra,
    }


def _generation_config(source: Source) -> dict[str, Any]:
    """nima's own defaults; every special symbol ends a text, as it does there."""
    sampling = SamplingParams()
    return {
        "bos_token_id": source.tokenizer.bos_id,
        "eos_token_id": [source.tokenizer.eos_id, *_end_ids(source)],
        "pad_token_id": source.tokenizer.pad_id,
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
    }


def _end_ids(source: Source) -> list[int]:
    """What ends a text besides `<|eos|>`; the pad symbol may not, for programs fill rows with it."""
    tokenizer = source.tokenizer
    return [tokenizer.end_id, *sorted(tokenizer.role_ids.values()), tokenizer.bos_id]


def _tokenizer(source: Source, where: str) -> dict[str, Any]:
    """The JSON twin, which also begins every text with `<|bos|>`, as a prompt to nima begins.

    Raises:
        CheckpointError: there is no exact twin.
    """
    twin = source.tokenizer.json_twin()
    if twin is None:
        raise CheckpointError(
            f"{where}: Hugging Face's tokenizer format cannot say a {source.tokenizer.kind} tokenizer exactly",
            hint="use --format safetensors, or train with `--tokenizer bpe`",
        )
    found: dict[str, Any] = json.loads(twin)
    begin: dict[str, Any] = {"SpecialToken": {"id": BOS, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    found["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, second],
        "special_tokens": {BOS: {"id": BOS, "ids": [source.tokenizer.bos_id], "tokens": [BOS]}},
    }
    return found


def _special_tokens() -> dict[str, str]:
    return {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD, "unk_token": UNKNOWN}


def _tokenizer_config(source: Source) -> dict[str, Any]:
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": source.shape.context_length,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "added_tokens_decoder": {
            str(token_id): {"content": symbol, **plain} for token_id, symbol in enumerate(CONTROL_SYMBOLS, start=1)
        },
        "chat_template": CHAT_TEMPLATE,
        **_special_tokens(),
    }
