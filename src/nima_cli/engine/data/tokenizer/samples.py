"""Encodes a document as samples that fit, and checks that nothing was lost."""

import functools
import re
from collections.abc import Iterator

from nima_cli.engine.data.document import Document, Turn
from nima_cli.engine.data.tokenizer.chunk import split_conversation, split_text
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.protocol import LOSSY, Loss, Sample, Tokenizer, UnencodableError, render_prose
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.errors import DataError

_STRETCH = re.compile("\t| +[^ \t]*|[^ \t]+")
_CROSSING = re.compile("[^ ] |[\n\t].|.[\n\t]", re.DOTALL)
_MAX_STRETCHES, _MAX_STRETCH = 2**17, 64
_MAX_LINES, _MAX_LINE = 2**14, 512


class CachingEncoder:
    """The `encode` of one tokenizer, faster by a bounded cache of lines and stretches; not thread-safe.

    In a bpe vocabulary of nima no piece spans a line end, a tab, or the end of a word before a space, so the stretches
    between these places can be encoded one by one; for those of other models, `stretches` says where. A unigram model
    chooses the best path over the whole text, and single characters are found faster than stretches, so nothing is
    cached for these kinds.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._stretches: dict[str, list[int]] = {}
        self._lines: dict[str, list[int]] = {}
        self._numbers = list(range(tokenizer.vocab_size))
        self._first_differs = False
        self._line_end = tokenizer.encode("\n")
        self._encode_stretch = tokenizer.encode
        self.encode = tokenizer.encode
        """Exactly `tokenizer.encode`."""
        if isinstance(tokenizer, SentencePieceTokenizer):
            if tokenizer.kind == "bpe" and not any(map(_CROSSING.search, tokenizer.pieces)):
                self.encode = self._by_lines
        elif isinstance(tokenizer, HFTokenizer) and tokenizer.stretches is not None:
            self._encode_stretch, self._first_differs = tokenizer.encode_rest, bool(tokenizer.leading_space)
            self.encode = functools.partial(self._by_stretches, tokenizer.stretches)

    def _by_lines(self, text: str) -> list[int]:
        known, line_end, ids = self._lines, self._line_end, list[int]()
        for line in text.split("\n"):
            found = known.get(line)
            ids += self._line(line) if found is None else found
            ids += line_end
        return ids[: -len(line_end)]

    def _line(self, line: str) -> list[int]:
        known, ids = self._stretches, list[int]()
        for stretch in _STRETCH.findall(line):
            ids += known.get(stretch) or self._stretch(stretch)
        if len(line) <= _MAX_LINE:
            if len(self._lines) >= _MAX_LINES:
                self._lines.clear()
            self._lines[line] = ids
        return ids

    def _by_stretches(self, pattern: re.Pattern[str], text: str) -> list[int]:
        known, parts = self._stretches, pattern.findall(text)
        ids = self.tokenizer.encode(parts.pop(0)) if parts and self._first_differs else []
        for stretch in parts:
            ids += known.get(stretch) or self._stretch(stretch)
        return ids

    def _stretch(self, stretch: str) -> list[int]:
        # One int object for each id, not for each occurrence, stays in the processor's cache.
        ids = [self._numbers[token_id] for token_id in self._encode_stretch(stretch)]
        if len(stretch) <= _MAX_STRETCH:
            if len(self._stretches) >= _MAX_STRETCHES:
                self._stretches.clear()
            self._stretches[stretch] = ids
        return ids


def encode_document(
    document: Document, encoder: CachingEncoder, max_length: int, *, heading_context: bool, loss: Loss = "all"
) -> list[Sample]:
    """A document as samples of at most `max_length` tokens, special symbols included; see `chunk`.

    Args:
        heading_context: begin a chunk with the headings over it; they count as its text in tokens and bytes, so that
            bits per byte stay right.
        loss: what carries loss in a conversation; see `chat_format`.

    Raises:
        UnencodableError: the tokenizer of a pretrained model changes the text, or its chat format refuses the turns.
        DataError: a sample does not decode to its text, or no assistant speaks in the conversation.
    """
    if document.turns and not any(turn.role == "assistant" for turn in document.turns):
        raise DataError(
            f"{document.where}: the assistant says nothing in it, so nothing can be learned from it",
            hint="correct the record, or leave it out",
        )
    samples: list[tuple[Sample, str | None]]
    if document.turns:
        samples = list(_conversation(document, encoder, max_length, loss))
    else:
        samples = list(_prose(document, encoder, max_length, heading_context))
    for sample, text in samples:
        if text is not None and encoder.tokenizer.decode(sample.ids) != text:
            raise _not_given_back(document, encoder.tokenizer)
    return [sample for sample, _ in samples]


def _not_given_back(document: Document, tokenizer: Tokenizer) -> DataError | UnencodableError:
    problem = f"the {tokenizer.kind} tokenizer does not give this text back unchanged"
    if not tokenizer.lossless:
        return UnencodableError(problem, LOSSY)
    return DataError(f"{document.where}: {problem}", hint="please report this; another kind of tokenizer may work")


def _prose(
    document: Document, encoder: CachingEncoder, max_length: int, heading_context: bool
) -> Iterator[tuple[Sample, str | None]]:
    room = max_length - 2  # <|bos|> and <|eos|>
    encode = functools.cache(encoder.encode)  # splitting counts the same stretches more than once

    def count(part: str) -> int:
        surely_too_long = len(part) > room * encoder.tokenizer.longest_piece
        return len(part) if surely_too_long else len(encode(part))

    chunks = split_text(document.text, document.kind, count, room, heading_context=heading_context)
    for number, chunk in enumerate(chunks, start=1):
        text = chunk.context + chunk.text
        yield render_prose(encode(text), encoder.tokenizer, last=number == len(chunks)), text


def _conversation(
    document: Document, encoder: CachingEncoder, max_length: int, loss: Loss
) -> Iterator[tuple[Sample, str | None]]:
    tokenizer = encoder.tokenizer

    def count(turns: tuple[Turn, ...]) -> int:
        return len(tokenizer.chat.render(turns, loss="all", encode=encoder.encode).ids)

    for turns in split_conversation(document.turns, count, max_length):
        try:
            sample = tokenizer.chat.render(turns, loss=loss, encode=encoder.encode)
        except DataError as error:
            raise DataError(f"{document.where}: {error.message}", hint=error.hint) from error
        # A template has more words than the turns, and proves them itself.
        yield sample, "".join(turn.content for turn in turns) if tokenizer.lossless else None
