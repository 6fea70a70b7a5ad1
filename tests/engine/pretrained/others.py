"""Small random models as others make them: by transformers in folders, by the `gguf` package in files."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.pretrained.load import load_pretrained
from nima_cli.errors import CheckpointError, NimaError

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
VOCABULARY = 280  # rows of the embedding; the tokenizer has fewer
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
# What the layouts differ in; `theirs` is the name of transformers' classes.
LAYOUTS: dict[str, dict[str, Any]] = {
    "llama": {"theirs": "Llama", "tie_word_embeddings": True},
    "mistral": {"theirs": "Mistral", "head_dim": 8, "sliding_window": None},
    "qwen2": {"theirs": "Qwen2", "num_key_value_heads": 1},
    "qwen3": {"theirs": "Qwen3", "head_dim": 32, "tie_word_embeddings": True},
}


def random_model(layout: str, **config: Any) -> Any:
    """A model of transformers whose every tensor is random, so that none can be left out unseen."""
    transformers = pytest.importorskip("transformers")
    settings = {**_SIZES, **LAYOUTS[layout], **config}
    theirs = settings.pop("theirs")
    model = getattr(transformers, f"{theirs}ForCausalLM")(getattr(transformers, f"{theirs}Config")(**settings)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1.0 + 0.2 * noise if "norm" in name else noise / parameter.shape[-1] ** 0.5)
    return model


def tokens() -> list[str]:
    """Special tokens, the bytes as GPT-2 spells them, and two merges of them."""
    tokenizers = pytest.importorskip("tokenizers")
    return [*SPECIAL, *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()), "he", "Ġt"]


def write_tokenizer(folder: Path, *, size: int | None = None) -> None:
    """The files of a byte-level tokenizer; with `size`, its vocabulary is filled up to it."""
    vocabulary = tokens()
    vocabulary += [f"<|more_{number}|>" for number in range(len(vocabulary), size or 0)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": byte_level,
        "added_tokens": [{"id": number, "content": text, **flags} for number, text in enumerate(SPECIAL)],
        "post_processor": None, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(vocabulary)}, "merges": [["h", "e"], ["Ġ", "t"]],
        },
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[2], "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def save_folder(model: Any, folder: Path, **how: Any) -> Path:
    """The folder that transformers writes for a model, and a tokenizer."""
    model.save_pretrained(folder, **how)
    write_tokenizer(folder)
    return folder


def change_json(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; the value `...` takes a key away."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **values}
    kept = {key: value for key, value in content.items() if value is not ...}
    path.write_text(json.dumps(kept), encoding="utf-8")


def tokenizer_fields() -> dict[str, Any]:
    """The metadata of the same tokenizer in GGUF."""
    vocabulary = tokens()
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": vocabulary,
        "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (len(vocabulary) - len(SPECIAL)),
        "tokenizer.ggml.merges": ["h e", "Ġ t"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": TEMPLATE,
    }


def model_fields(model: Any) -> dict[str, Any]:
    """The metadata of a model of transformers in GGUF, whose architectures have no Mistral."""
    config = model.config
    arch = "llama" if config.model_type == "mistral" else config.model_type
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return {
        "general.architecture": arch,
        "general.license": "mit",
        f"{arch}.context_length": config.max_position_embeddings,
        f"{arch}.embedding_length": config.hidden_size,
        f"{arch}.block_count": config.num_hidden_layers,
        f"{arch}.feed_forward_length": config.intermediate_size,
        f"{arch}.attention.head_count": config.num_attention_heads,
        f"{arch}.attention.head_count_kv": config.num_key_value_heads,
        f"{arch}.attention.key_length": head_dim,
        f"{arch}.attention.value_length": head_dim,
        f"{arch}.rope.dimension_count": head_dim,
        f"{arch}.rope.freq_base": config.rope_parameters["rope_theta"],
        f"{arch}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
    }


def gguf_order(model: Any) -> Iterator[tuple[str, str, torch.Tensor]]:
    """For each tensor of a model of transformers: its name, GGUF's name, and its rows in GGUF's order."""
    gguf = pytest.importorskip("gguf")
    config = model.config
    arch = "llama" if config.model_type == "mistral" else config.model_type
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        rows = torch.arange(len(tensor))
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            rows = neighbours_together(
                rows, config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            )
        yield name, names.get_name(name, try_suffixes=(".weight", ".bias")), rows


def neighbours_together(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows i and i + D/2 of each head next to each other, as GGUF has them for Llama."""
    half = len(rows) // heads // 2
    order = [head * 2 * half + i + second * half for head in range(heads) for i in range(half) for second in (0, 1)]
    return rows[order]


def model_tensors(model: Any) -> dict[str, torch.Tensor]:
    """The tensors of a model of transformers by GGUF's names and in its order of rows."""
    tensors = model.state_dict()
    return {theirs: tensors[name][rows] for name, theirs, rows in gguf_order(model)}


def write_gguf(
    path: Path, fields: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], *, matrices: str = "F32"
) -> Path:
    """A file as the `gguf` package writes it; vectors stay in float32."""
    gguf = pytest.importorskip("gguf")
    fields = dict(fields)
    writer = gguf.GGUFWriter(path, fields.pop("general.architecture"))
    adders: dict[type, Callable[[str, Any], None]] = {
        bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
        list: writer.add_array,
    }  # fmt: skip
    for key, value in fields.items():
        adders[type(value)](key, value)
    for name, tensor in tensors.items():
        kind = gguf.GGMLQuantizationType[matrices if tensor.ndim > 1 else "F32"]
        writer.add_tensor(name, gguf.quants.quantize(tensor.float().numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def save_gguf(model: Any, path: Path, *, matrices: str = "F32", more: Mapping[str, Any] | None = None) -> Path:
    """A GGUF file of a model of transformers, with more metadata."""
    fields = {**model_fields(model), **tokenizer_fields(), **(more or {})}
    return write_gguf(path, fields, model_tensors(model), matrices=matrices)


def refusal(path: Path) -> str:
    """The one line with which this model is refused, without its path."""
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(path)
    error = caught.value
    assert error.exit_code == 3
    assert error.message.startswith(str(path))
    assert len(error.message.splitlines()) == 1
    assert len(error.message) < len(str(path)) + 400
    return error.message.removeprefix(str(path)).removeprefix("/")


# Values that a stranger may put anywhere.
ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1 << 31, 10**30, 0.5, -0.0, 1e308, "", "x", "\n", "9" * 5000, [], [None], [[1]], {},
    {"a": {}}, {"rope_type": "yarn"}, {"rope_type": "llama3", "factor": 0, "low_freq_factor": 0, "high_freq_factor": 0},
    {"rope_type": "yarn", "factor": -1.0, "original_max_position_embeddings": 0},
    {"rope_type": "yarn", "factor": None, "beta_fast": 1e-300, "beta_slow": 1e300},
    {"rope_type": "linear", "factor": 1e-300, "rope_theta": 1.0000001},
)  # fmt: skip


def ends_in_one_line(path: Path) -> bool:
    """Whether a model is refused; anything but a refusal in one line fails."""
    refused = None
    try:
        load_pretrained(path)
    except NimaError as error:
        refused = error
    assert refused is None or (refused.exit_code in (3, 4) and len(refused.message.splitlines()) == 1)
    return refused is not None
