"""What a tokenizer and its chat format can do, whoever made them."""

import codecs
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, Protocol

import numpy as np

from nima_cli.engine.data.document import Turn
from nima_cli.errors import InputError

Loss = Literal["all", "assistant"]
Encode = Callable[[str], list[int]]
# Reasons for which documents are dropped: the tokenizer changes their text, or the chat format refuses their turns.
LOSSY, REFUSED = "lossy_tokenizer", "chat_template"


class UnencodableError(InputError):
    """A text or conversation for which a tokenizer or a chat format has no ids.

    Args:
        reason: a key under which drops are counted.
    """

    def __init__(self, message: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids, and for each whether it carries loss as a target."""

    ids: list[int]
    mask: list[bool]


class ChatFormat(Protocol):
    """How a conversation becomes token ids; what a turn says stays text, whatever it spells."""

    def render(self, turns: Sequence[Turn], *, loss: Loss, encode: Encode | None = None) -> Sample:
        """A whole conversation as a sample.

        Args:
            loss: `all`, or only what the assistant says and the symbols that end its turns. A turn of weight 0 carries
                none in either case.
            encode: a faster `encode` of the tokenizer, which a format may use.

        Raises:
            UnencodableError: the format refuses these turns.
        """
        ...

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """The ids up to where the assistant begins to speak; raises as `render` does."""
        ...


class Tokenizer(Protocol):
    """Text to token ids and back.

    Attributes:
        kind: bpe, unigram or char for SentencePiece, hf for a `tokenizer.json`.
        proto: the bytes from which `load.tokenizer_from_bytes` makes it again.
        sha256: hex digest of `proto`.
        vocab_size: one more than the highest id.
        lossless: whether every text comes back from its ids.
        longest_piece: characters of the longest token.
        bos_id: begins a sample of prose.
        eos_id: ends a document; may be `bos_id`, which then separates documents.
        pad_id: fills rows, where it carries no loss.
        stop_ids: end what a model writes.
        special_ids: never come from text and give none.
        has_chat_template: whether it came with a chat format of its model, which knows it whatever it learns from now.
    """

    @property
    def kind(self) -> str: ...
    @property
    def proto(self) -> bytes: ...
    @property
    def sha256(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def lossless(self) -> bool: ...
    @property
    def longest_piece(self) -> int: ...
    @property
    def bos_id(self) -> int: ...
    @property
    def eos_id(self) -> int: ...
    @property
    def pad_id(self) -> int: ...
    @property
    def stop_ids(self) -> frozenset[int]: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    @property
    def chat(self) -> ChatFormat: ...
    @property
    def has_chat_template(self) -> bool: ...

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special symbols whatever it spells; raises `InputError` for lone surrogates."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; special symbols give no text, and bytes that form no character give U+FFFD."""
        ...

    def piece(self, token_id: int) -> str:
        """One token for people: its text, `<0x0A>` for a byte that is none, or a special symbol."""
        ...

    def byte_lengths(self) -> np.ndarray:
        """int32 [V]: the number of UTF-8 bytes of each id, 0 for special symbols."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes of one id; none for special symbols and ids beyond the vocabulary."""
        ...

    def hf_json(self) -> str | None:
        """A Hugging Face `tokenizer.json` with the same ids, or None if that format cannot promise them."""
        ...


class TextStream:
    """`decode` token by token, in whole characters."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The characters that this token completes."""
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def flush(self) -> str:
        """U+FFFD for an incomplete character at the end."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


def render_prose(content: Iterable[int], tokenizer: Tokenizer, *, last: bool) -> Sample:
    """An encoded chunk as a sample; `last` means that it ends its document."""
    ids = [tokenizer.bos_id, *content, *([tokenizer.eos_id] if last else [])]
    return Sample(ids, [False] + [True] * (len(ids) - 1))


def question_frame(chat: ChatFormat, system: str = "") -> tuple[list[int], list[int]]:
    """The ids before and after the first question of a conversation, up to where the assistant begins to speak."""
    head = [Turn("system", system)] if system else []
    one, other = (chat.prompt([*head, Turn("user", word)]) for word in ("x", "y"))
    before = [pair[0] for pair in takewhile(_equal, zip(one, other, strict=False))]
    after = [pair[0] for pair in takewhile(_equal, zip(reversed(one), reversed(other), strict=False))]
    return before, after[::-1]


def _equal(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]
