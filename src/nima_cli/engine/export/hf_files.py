"""What is in a folder for Hugging Face transformers beside the weights and the card.

A model that was tuned gets the files of its tokenizer back as they were; for others they are made.
"""

import json
from collections.abc import Mapping
from typing import Any

from nima_cli.engine.data.tokenizer.chat_format import CHAT_TEMPLATE
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.sentencepiece_file import BOS, CONTROL_SYMBOLS, EOS, PAD, UNKNOWN
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.export.source import Source
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.model.rope_scaling import RopeScaling
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import CheckpointError

CONFIG, GENERATION, TEMPLATE = "config.json", "generation_config.json", "chat_template.jinja"
NAMES = (
    CONFIG, GENERATION, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", TEMPLATE,
)  # fmt: skip
_CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
# Keys without which transformers would take a layout to have what no model of nima has.
_LAYOUT_KEYS: dict[str, dict[str, Any]] = {
    "llama": {"mlp_bias": False},
    "mistral": {"sliding_window": None},
    "qwen2": {"use_sliding_window": False},
    "qwen3": {},
}
_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_SPECIAL_TOKENS = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD, "unk_token": UNKNOWN}


def files_of(source: Source, where: str) -> dict[str, Any]:
    """The contents of the files by their names: a text as it is to be written, or values for JSON.

    Raises:
        CheckpointError: transformers has no such layout, or cannot have this tokenizer.
    """
    tokenizer = source.tokenizer
    if isinstance(tokenizer, HFTokenizer):
        ids = _special_ids(tokenizer)
        missing = {} if tokenizer.chat.is_own else {TEMPLATE: chat_template(tokenizer)}
        return {CONFIG: config(source, ids, where), **missing, **tokenizer.files}
    assert isinstance(tokenizer, SentencePieceTokenizer), "there is no third kind"
    ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    return {
        CONFIG: config(source, ids, where),
        GENERATION: _generation_config(tokenizer),
        "tokenizer.json": _tokenizer(tokenizer, where),
        "tokenizer_config.json": _tokenizer_config(source.shape),
        "special_tokens_map.json": _SPECIAL_TOKENS,
        TEMPLATE: CHAT_TEMPLATE,
    }


def chat_template(tokenizer: HFTokenizer) -> str:
    """The template of the model, or the one with which nima trains models that have none, as a text of its own."""
    if tokenizer.chat.is_own:
        return tokenizer.chat.source
    symbols = {"document_begin": tokenizer.bos_id, "document_end": tokenizer.eos_id}
    given = (f"{{% set {name} = {json.dumps(tokenizer.piece(symbol))} %}}" for name, symbol in symbols.items())
    return "".join(given) + tokenizer.chat.source


def config(source: Source, special_ids: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The `config.json` of a model; raises `CheckpointError` if transformers has no such layout."""
    shape, layout = source.shape, source.layout
    if shape.qk_norm and shape.qkv_bias:
        raise CheckpointError(
            f"{where}: no layout of other programs has both `qk_norm` and `qkv_bias`", hint="use `format=safetensors`"
        )
    return {
        "architectures": [f"{_CLASSES[layout]}ForCausalLM"],
        "model_type": layout,
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_ff,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context_length,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_theta,
        **({"rope_scaling": _rope(shape.rope_scaling)} if shape.rope_scaling is not None else {}),
        **({"attention_bias": False} if layout != "qwen2" else {}),  # Qwen2 has its biases without a key
        "tie_word_embeddings": shape.tie_embeddings,
        **special_ids,
        "torch_dtype": source.dtype,
        **_LAYOUT_KEYS[layout],
    }


def _rope(scaling: RopeScaling) -> dict[str, Any]:
    kind = {"rope_type": scaling.kind, "factor": scaling.factor}
    original = {"original_max_position_embeddings": scaling.original_context}
    if scaling.kind == "llama3":
        return {**kind, **original, "low_freq_factor": scaling.low, "high_freq_factor": scaling.high}
    if scaling.kind == "yarn":
        ends = {"beta_fast": scaling.high, "beta_slow": scaling.low}
        return {**kind, **original, **ends, "attention_factor": scaling.attention_factor}
    return kind


def _special_ids(tokenizer: HFTokenizer) -> dict[str, Any]:
    """The special ids that the model's own files give, where it had them."""
    generation = json.loads(tokenizer.files.get(GENERATION, "{}"))
    return {key: generation[key] for key in _SPECIAL_IDS if generation.get(key) is not None}


def _generation_config(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    """nima's defaults; every special symbol except padding ends generation."""
    sampling = SamplingParams()
    return {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": [tokenizer.eos_id, tokenizer.end_id, *sorted(tokenizer.role_ids.values()), tokenizer.bos_id],
        "pad_token_id": tokenizer.pad_id,
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
    }


def _tokenizer(tokenizer: SentencePieceTokenizer, where: str) -> dict[str, Any]:
    """The tokenizer's JSON; it begins each text with `<|bos|>`, as nima begins a prompt."""
    exact = tokenizer.hf_json()
    if exact is None:
        raise CheckpointError(
            f"{where}: Hugging Face's tokenizer format cannot say a {tokenizer.kind} tokenizer exactly",
            hint="use `format=safetensors`, or train with a bpe tokenizer",
        )
    found: dict[str, Any] = json.loads(exact)
    begin: dict[str, Any] = {"SpecialToken": {"id": BOS, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    found["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, second],
        "special_tokens": {BOS: {"id": BOS, "ids": [tokenizer.bos_id], "tokens": [BOS]}},
    }
    return found


def _tokenizer_config(shape: ModelShape) -> dict[str, Any]:
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": shape.context_length,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "added_tokens_decoder": {
            str(token_id): {"content": symbol, **plain} for token_id, symbol in enumerate(CONTROL_SYMBOLS, start=1)
        },
        "chat_template": CHAT_TEMPLATE,
        **_SPECIAL_TOKENS,
    }
