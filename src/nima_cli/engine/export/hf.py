"""Writes a folder that Hugging Face transformers loads without code of nima."""

import contextlib
import json
import warnings
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from nima_cli import __version__
from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.chat_format import CHAT_TEMPLATE
from nima_cli.engine.data.tokenizer.sentencepiece_file import BOS, CONTROL_SYMBOLS, EOS, PAD, UNKNOWN
from nima_cli.engine.export import places, safetensors_file, verify
from nima_cli.engine.export.source import Source
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.errors import CheckpointError
from nima_cli.files import atomic_write, write_json, write_text

CARD = "README.md"
NAMES = (
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "chat_template.jinja", CARD,
)  # fmt: skip
_SPECIAL_TOKENS = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD, "unk_token": UNKNOWN}


def export(source: Source, path: Path, card: str) -> tuple[list[str], list[str]]:
    """Write the folder `path` atomically; returns what reading it back showed, and what could not be checked."""
    places.check_folder(path, NAMES)
    tokenizer = _tokenizer(source, str(path))
    with places.new_folder(path) as folder:
        safetensors = {_name(name): tensor for name, tensor in source.tensors.items()}
        check_weights = partial(safetensors_file.read_back, source=source, where=str(path), rename=_name)
        with atomic_write(folder / "model.safetensors", verify=check_weights) as stream:
            metadata = places.safetensors_metadata(__version__)
            safetensors_file.write_tensors(Path(stream.name), safetensors, metadata)
        write_json(folder / "config.json", _config(source))
        write_json(folder / "generation_config.json", _generation_config(source))
        write_json(folder / "tokenizer.json", tokenizer)
        write_json(folder / "tokenizer_config.json", _tokenizer_config(source))
        write_json(folder / "special_tokens_map.json", _SPECIAL_TOKENS)
        write_text(folder / "chat_template.jinja", CHAT_TEMPLATE)
        write_text(folder / CARD, card)
        return _read_back(folder, source, str(path))


def _name(name: str) -> str:
    """transformers' name of a tensor by nima's."""
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
        "rms_norm_eps": shape.norm_epsilon,
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
    """nima's defaults; every special symbol except padding ends generation."""
    sampling, tokenizer = SamplingParams(), source.tokenizer
    return {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": [tokenizer.eos_id, tokenizer.end_id, *sorted(tokenizer.role_ids.values()), tokenizer.bos_id],
        "pad_token_id": tokenizer.pad_id,
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
    }


def _tokenizer(source: Source, where: str) -> dict[str, Any]:
    """The tokenizer's JSON; it begins each text with `<|bos|>`, as nima begins a prompt."""
    exact = source.tokenizer.hf_json()
    if exact is None:
        raise CheckpointError(
            f"{where}: Hugging Face's tokenizer format cannot say a {source.tokenizer.kind} tokenizer exactly",
            hint="use `format=safetensors`, or train with a bpe tokenizer",
        )
    found: dict[str, Any] = json.loads(exact)
    begin: dict[str, Any] = {"SpecialToken": {"id": BOS, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    found["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, second],
        "special_tokens": {BOS: {"id": BOS, "ids": [source.tokenizer.bos_id], "tokens": [BOS]}},
    }
    return found


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
        **_SPECIAL_TOKENS,
    }


def _read_back(path: Path, source: Source, where: str) -> tuple[list[str], list[str]]:
    """Load `path` with transformers, if it is installed; returns what was verified and what could not be."""
    verified = [f"read back by safetensors: {len(source.tensors)} equal tensors"]
    if find_spec("transformers") is None:
        return verified, [
            "logits, ids and chat format in transformers: it is not installed (pip install transformers, export again)"
        ]
    import transformers

    with _quietly(transformers):
        model = transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True).float().eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        verified += [
            f"loaded by transformers {transformers.__version__}: {_logits(model, source, where)}",
            _ids(tokenizer, source, where),
            _chat(tokenizer, source, where),
        ]
    return verified, []


@contextlib.contextmanager
def _quietly(transformers: Any) -> Iterator[None]:
    """Turn progress bars and warnings of transformers off for the block."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


@torch.inference_mode()
def _logits(model: Any, source: Source, where: str) -> str:
    rows = verify.sample_rows(source.tokenizer, source.shape.context_length)
    found = [model(torch.tensor([row])).logits[0] for row in rows]
    return verify.compare_logits(found, verify.own_logits(source.shape, source.tensors, rows), where)


def _ids(tokenizer: Any, source: Source, where: str) -> str:
    ours = source.tokenizer
    for text in (*verify.TEXTS, verify.SPELLED_MARK):
        ids = ours.encode(text)
        verify.compare(tokenizer(text)["input_ids"], [ours.bos_id, *ids], where, f"the ids of {text!r}")
        verify.compare(tokenizer.decode(ids), text, where, f"the text of the ids of {text!r}")
    for text in (*verify.TEXTS, verify.SPELLED_SYMBOLS):
        found = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        verify.compare(found, ours.encode(text), where, f"the ids of {text!r}")
    return f"the same ids for {len(verify.TEXTS) + 2} texts"


def _chat(tokenizer: Any, source: Source, where: str) -> str:
    def theirs(turns: tuple[Turn, ...], *, prompt: bool) -> object:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        return tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=prompt, return_dict=False)

    for turns in (verify.CONVERSATION, verify.CONVERSATION[1:]):
        ours = source.tokenizer.chat.prompt(turns)
        verify.compare(theirs(turns, prompt=True), ours, where, "the ids of a chat prompt")
        answered = (*turns, Turn("assistant", "Hello.\n"))
        ours = source.tokenizer.chat.render(answered, loss="all").ids
        verify.compare(theirs(answered, prompt=False), ours, where, "the ids of a conversation")
    return "the same chat format"
