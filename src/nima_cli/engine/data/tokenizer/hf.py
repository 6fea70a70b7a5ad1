"""Tokenizers of models that others trained: a Hugging Face `tokenizer.json` through the `tokenizers` package.

Which symbols do what is derived in this order:

- A document ends with the separator of documents that the vocabulary has (`<|endoftext|>` in SmolLM2, Qwen and GPT-2,
  `<|end_of_text|>` in Llama 3, `</s>` in Llama 2 and Mistral), whatever `eos_token` says: for models that were tuned on
  chats it names the end of a turn. Without one of the known separators it is `eos_token`.
- A sample of prose begins with what the tokenizer itself puts before a text (its post-processor, or `add_bos_token`),
  or with a `bos_token` whose name says that it begins texts, else with the separator of documents, as in training.
- Writing ends at `eos_token`, at the `eos_token_id` of `generation_config.json`, at the separator of documents, at the
  symbol that ends the assistant's turns in the chat template, and at symbols that only ever begin or fill something.
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nima_cli.engine.data.tokenizer.chat_template import CHATML, PLAIN, TemplateChat
from nima_cli.engine.data.tokenizer.hf_file import (
    MARK,
    Vocabulary,
    mark,
    read_bundle,
    read_settings,
    read_vocabulary,
    refused,
)
from nima_cli.engine.data.tokenizer.hf_steps import Json
from nima_cli.engine.data.tokenizer.protocol import LOSSY, UnencodableError
from nima_cli.engine.data.tokenizer.stretches import stretches
from nima_cli.engine.packages import needed
from nima_cli.errors import InputError

_SEPARATORS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<｜end▁of▁sentence｜>")
_BEGINNINGS = ("<s>", "<|begin_of_text|>", "<bos>", "<｜begin▁of▁sentence｜>", "<|bos|>")
_TURN_BEGINS, _TURN_ENDS = "<|im_start|>", "<|im_end|>"


class HFTokenizer:
    """A vocabulary of another model; made by `from_bytes`. It is a `protocol.Tokenizer`, with one more attribute:
    files: the tokenizer files of the model by name, as they were.

    Texts that its normaliser changes do not come back from their ids. A space that the tokenizer puts before a text
    counts as a byte of its first token, and `decode` takes it away.
    """

    kind = "hf"
    lossless = False

    def __init__(self, proto: bytes, files: Mapping[str, str], vocabulary: Vocabulary, config: Json, generation: Json):
        self.proto, self.files = proto, files
        self.sha256 = hashlib.sha256(proto).hexdigest()
        self.vocab_size = len(vocabulary.pieces)
        self.longest_piece = max(map(len, vocabulary.token_bytes))
        self.leading_space = vocabulary.leading_space
        self.special_ids = frozenset(vocabulary.special.values())
        self._vocabulary, self._config = vocabulary, config
        self._bytes = vocabulary.token_bytes
        self._native = _native(vocabulary.native)
        named = _named_tokens(config)
        special = vocabulary.special
        ends = [special[name] for name in (*_SEPARATORS, named.get("eos_token", "")) if name in special]
        told = _generation_ends(generation, self.vocab_size)
        if not ends + told:
            raise ValueError("it has no symbol that ends a document: `eos_token` is missing")
        self.eos_id = (ends + told)[0]
        first = _first_symbol(vocabulary, config, named)
        self.bos_id = self.eos_id if first is None else special[first]
        self.pad_id = special.get(named.get("pad_token", ""), self.eos_id)
        self._end_ids = frozenset({self.eos_id, special.get(named.get("eos_token", ""), self.eos_id), *told})
        unknown = vocabulary.native["model"]["unk_token"]
        self._unknown_id = None if unknown is None else self._native.token_to_id(unknown)

    @classmethod
    def from_bytes(cls, proto: bytes, *, where: str) -> "HFTokenizer":
        """Load a bundle (see `hf_file.bundle`).

        Raises:
            CheckpointError: damaged, hostile, or of a kind that nima cannot use; `where` names it.
            ResourceError: a package is missing.
        """
        files = read_bundle(proto, where)
        config, generation = read_settings(files, where)
        vocabulary = read_vocabulary(files["tokenizer.json"], frozenset(_named_tokens(config).values()), where)
        needed("tokenizers", extra="pretrained", what="the tokenizers of pretrained models")
        try:
            tokenizer = cls(proto, files, vocabulary, config, generation)
            tokenizer._check()
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # what Rust panics with is no Exception
            raise refused(where, " ".join(str(error).split())[:200]) from error
        tokenizer.chat.check(where)
        return tokenizer

    def _check(self) -> None:
        """Compare the native library's ids with the file's, and try whether text can spell a special token."""
        vocabulary = self._vocabulary
        for token in vocabulary.native["added_tokens"]:
            if self._native.token_to_id(token["content"]) != token["id"]:
                raise ValueError(f"the id {token['id']} of an added token leaves a gap")
        self._native.encode_special_tokens = True
        for content, token_id in vocabulary.special.items():
            spelled = (self._native.encode(text, add_special_tokens=False).ids for text in (content, mark(token_id)))
            if token_id != self._unknown_id and any(token_id in ids for ids in spelled):
                raise ValueError(f"text can spell its special token {ascii(content)[:40]}")
        self._native.encode_special_tokens = False

    @functools.cached_property
    def chat(self) -> TemplateChat:
        """The model's chat template; ChatML where it has none and the symbols for it, else turns as plain text."""
        special, found = self._vocabulary.special, self._template
        chatml = _TURN_BEGINS in special and _TURN_ENDS in special
        source, name = found or ((CHATML, "ChatML") if chatml else (PLAIN, "plain text"))
        symbols = {"document_begin": self._content(self.bos_id), "document_end": self._content(self.eos_id)}
        return TemplateChat(self, source, name, special, {**symbols, **_named_tokens(self._config)}, self._end_ids)

    @property
    def has_chat_template(self) -> bool:
        """Whether the model came with a chat template."""
        return self._template is not None

    @property
    def _template(self) -> tuple[str, str] | None:
        """The chat template that came with the model, and where it stands."""
        if "chat_template.jinja" in self.files:
            return self.files["chat_template.jinja"], "chat_template.jinja"
        configured = _configured_template(self._config.get("chat_template"))
        return None if configured is None else (configured, "tokenizer_config.json")

    @functools.cached_property
    def stretches(self) -> re.Pattern[str] | None:
        """What cuts a text into parts, of which the first is encoded by `encode` and the others by `encode_rest`."""
        return stretches(self._vocabulary.native)

    @functools.cached_property
    def stop_ids(self) -> frozenset[int]:
        """See `protocol.Tokenizer`."""
        return self.chat.end_ids | self.chat.begin_ids | {self.bos_id, self.pad_id}

    def _content(self, token_id: int) -> str:
        return self._vocabulary.pieces[token_id]

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special symbols whatever it spells; raises `InputError` for lone surrogates."""
        # A text that has a space already needs another, or decoding would take away its own.
        spaced = f" {text}" if self.leading_space == "missing" and text.startswith(" ") else text
        return self._ids(spaced)

    def encode_rest(self, text: str) -> list[int]:
        """Token ids of a part of a text that begins with a space, or of any part where texts get no leading space."""
        if self.leading_space != "always":
            return self._ids(text)
        # The space that is put before it is the one taken away here; an empty text would get none.
        return self._ids(text[1:]) if len(text) > 1 else self._ids("x ")[len(self._ids("x")) :]

    def _ids(self, text: str) -> list[int]:
        return self._encoded(self._literal if MARK in text else self._native, text)

    def encode_marked(self, text: str) -> list[int]:
        """Token ids of a text in which the names of special tokens (`hf_file.mark`) stand for these."""
        return self._encoded(self._native, text)

    def _encoded(self, native: Any, text: str) -> list[int]:
        try:
            ids: list[int] = native.encode(text, add_special_tokens=False).ids
        except TypeError:
            raise InputError("the text is not valid Unicode: it holds a lone surrogate") from None
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a panic in Rust is no Exception
            raise UnencodableError(f"the tokenizer of this model fails on this text: {error}", LOSSY) from error
        if self._unknown_id is not None and self._unknown_id in ids:
            raise UnencodableError("the vocabulary of this model lacks a character of the text", LOSSY)
        return ids

    @functools.cached_property
    def _literal(self) -> Any:
        """The native tokenizer for texts that spell the name of a special token."""
        native = _native(self._vocabulary.native)
        native.encode_special_tokens = True
        return native

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; special symbols give no text, and bytes that form no character give U+FFFD."""
        table = self._bytes
        try:
            data = b"".join([table[token_id] for token_id in ids])
        except IndexError:
            data = b"".join(map(self.token_bytes, ids))
        text = data.decode("utf-8", errors="replace")
        return text.removeprefix(" ") if self.leading_space else text

    def piece(self, token_id: int) -> str:
        """One token for people: its text, `<0x0A>` for each byte of what is none, or a special symbol."""
        if token_id in self.special_ids:
            return self._content(token_id)
        data = self.token_bytes(token_id)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in data)

    def byte_lengths(self) -> np.ndarray:
        """int32 [V]: the number of UTF-8 bytes of each id, 0 for special symbols."""
        return np.fromiter(map(len, self._bytes), dtype=np.int32, count=self.vocab_size)

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes of one id; none for special symbols and ids beyond the vocabulary."""
        return self._bytes[token_id] if token_id < self.vocab_size else b""

    def hf_json(self) -> str:
        """The model's `tokenizer.json`."""
        return self.files["tokenizer.json"]


def _native(file: Json) -> Any:
    import tokenizers

    return tokenizers.Tokenizer.from_str(json.dumps(file, ensure_ascii=False))


def _named_tokens(config: Json) -> dict[str, str]:
    """Special tokens by name, such as `eos_token`; further ones are numbered."""
    found = {name: _content_of(value) for name, value in config.items() if name.endswith("_token")}
    for name in ("additional_special_tokens", "extra_special_tokens"):
        more = config.get(name)
        values = list(more.values()) if isinstance(more, dict) else more if isinstance(more, list) else []
        found |= {f"{name}[{place}]": _content_of(value) for place, value in enumerate(values)}
    return {name: content for name, content in found.items() if content}


def _content_of(token: Any) -> str:
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""


def _generation_ends(generation: Json, vocab_size: int) -> list[int]:
    told = generation.get("eos_token_id")
    ids = told if isinstance(told, list) else [told]
    return [one for one in ids if type(one) is int and 0 <= one < vocab_size]


def _first_symbol(vocabulary: Vocabulary, config: Json, named: Mapping[str, str]) -> str | None:
    """What a text begins with, if that is a symbol of its own."""
    adds, bos = config.get("add_bos_token"), named.get("bos_token")
    wanted = vocabulary.first if adds is None else None
    if wanted is None and (adds is True or (adds is None and bos in _BEGINNINGS)):
        wanted = bos
    return wanted if wanted in vocabulary.special else None


def _configured_template(value: Any) -> str | None:
    """The template of a configuration, or the one called `default` of several."""
    if isinstance(value, list):
        named = {one.get("name"): one.get("template") for one in value if isinstance(one, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None
