"""Small tokenizers in the manner of those that pretrained models have, with chat templates of their kind."""

import functools
import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.hf_file import bundle

TEXTS = [
    f"# Section {n}\n\nRun `kubectl get pods -n team-{n}` and wait {n * 7} seconds.\n\n```yaml\nkey:\n    - a{n}\n```\n"
    f"user: what's system {n}? assistant: it's the café of Größe {n}; see <https://example.org/{n}>.\n"
    for n in range(60)
]
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN_PATTERN = LLAMA3_PATTERN.replace("{1,3}", "")

SMOL_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3_TEMPLATE = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + date_string + '\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim }}
        {{- '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant/user/assistant') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{% generation %}{{ ' ' + message['content'] + eos_token }}"
    "{% endgeneration %}{% else %}{{ raise_exception('Only user and assistant roles are known') }}{% endif %}"
    "{% endfor %}"
)
# Earlier answers lose their thoughts, and the last one gets empty ones if it has none.
QWEN3_TEMPLATE = """\
{%- set ns = namespace(last=0) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set content = message.content %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last %}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def _added(token_id: int, content: str, *, special: bool = True) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token_id, "content": content, **flags, "special": special}


def _byte_level(specials: list[str], steps: list[Any], size: int) -> dict[str, Any]:
    """A trained byte-level vocabulary, with special tokens in front as SmolLM2 has them."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    found: dict[str, Any] = json.loads(tokenizer.to_str())
    return found


def _smol() -> dict[str, str]:
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<filename>"]
    digits, bytes_ = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    config = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    return _files(_byte_level(specials, [digits, bytes_], 600), config, SMOL_TEMPLATE)


def _split(pattern: str) -> list[Any]:
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated")
    return [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def _llama3() -> dict[str, str]:
    file = _byte_level([], _split(LLAMA3_PATTERN), 600)
    file["model"]["ignore_merges"] = True
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    first = len(file["model"]["vocab"])
    file["added_tokens"] = [_added(first + place, name) for place, name in enumerate(names)]
    begin = {"id": names[0], "ids": [first], "tokens": [names[0]]}
    file["post_processor"] = {
        "type": "Sequence",
        "processors": [
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
            {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": names[0], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {names[0]: begin},
            },
        ],
    }
    config = {"bos_token": names[0], "eos_token": names[4]}
    return _files(file, config, LLAMA3_TEMPLATE, eos_token_id=[first + 1, first + 4])


def _qwen() -> dict[str, str]:
    file = _byte_level([], _split(QWEN_PATTERN), 600)
    file["normalizer"] = {"type": "NFC"}
    first = len(file["model"]["vocab"])
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    file["added_tokens"] = [
        _added(first + place, name, special=name.startswith("<|")) for place, name in enumerate(names)
    ]
    end = {"__type": "AddedToken", "content": "<|im_end|>", "special": True}
    config: dict[str, Any] = {"add_bos_token": False, "bos_token": None, "eos_token": end}
    config |= {"pad_token": "<|endoftext|>", "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    return _files(file, config, QWEN3_TEMPLATE, eos_token_id=[first + 2, first])


def _mistral() -> dict[str, str]:
    """As SentencePiece spells it: a space before each text, marks for spaces, bytes as tokens."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=600, special_tokens=specials, show_progress=False)
    )
    file: dict[str, Any] = json.loads(tokenizer.to_str())
    file["added_tokens"] = file["added_tokens"][:3]
    file["pre_tokenizer"] = None
    normal = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.normalizer = normal
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    file |= {key: json.loads(tokenizer.to_str())[key] for key in ("normalizer", "decoder", "post_processor")}
    config = {"add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return _files(file, config, MISTRAL_TEMPLATE)


def _metaspace() -> dict[str, str]:
    """The same vocabulary as newer files say it: only a text without a space before it gets one."""
    files = _mistral()
    file = json.loads(files["tokenizer.json"])
    file["normalizer"] = None
    file["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    return files | {"tokenizer.json": json.dumps(file)}


def _files(file: dict[str, Any], config: dict[str, Any], template: str, **generation: Any) -> dict[str, str]:
    files = {"tokenizer.json": json.dumps(file), "tokenizer_config.json": json.dumps(config)}
    files["chat_template.jinja"] = template
    return files | ({"generation_config.json": json.dumps(generation)} if generation else {})


_MAKERS = {"smol": _smol, "llama3": _llama3, "qwen": _qwen, "mistral": _mistral, "metaspace": _metaspace}
NAMES = tuple(_MAKERS)


@functools.cache
def _made(name: str) -> str:
    return json.dumps(_MAKERS[name]())


def hf_files(name: str) -> dict[str, str]:
    """The tokenizer files of one of `NAMES`."""
    found: dict[str, str] = json.loads(_made(name))
    return found


@functools.cache
def hf_tokenizer(name: str) -> HFTokenizer:
    """One of `NAMES`."""
    return HFTokenizer.from_bytes(bundle(hf_files(name)), where=name)


def write_files(files: dict[str, str], folder: Path) -> Path:
    """Put tokenizer files into a folder, as a model has them."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder
