"""Cuts one document into samples that fit and proves that nothing was lost: a pure function."""

from collections.abc import Iterator

from nima_cli.engine.data.document import Document, Turn
from nima_cli.engine.data.tokenizer.chat_format import Loss, Sample, render_conversation, render_prose
from nima_cli.engine.data.tokenizer.chunk import split_conversation, split_text
from nima_cli.engine.data.tokenizer.encoder import CachingEncoder
from nima_cli.engine.data.tokenizer.tokenizer import MAX_PIECE_CHARACTERS
from nima_cli.errors import DataError


def encode_document(
    document: Document, encoder: CachingEncoder, max_length: int, *, heading_context: bool, loss: Loss = "all"
) -> list[Sample]:
    """A document as samples of at most `max_length` tokens, special symbols included.

    Prose is cut at its natural seams and no token is dropped. A conversation is cut between exchanges; an exchange
    that is too long alone stays whole.

    Args:
        heading_context: begin a chunk with the headings that it is under; they are text of the sample like any other
            and count in its tokens and bytes, so that bits per byte stay what they say.
        loss: what of a conversation carries loss; see `chat_format`.

    Raises:
        DataError: a sample does not decode to exactly its text, or teaches nothing that an assistant says; names the
            document.
    """
    if document.turns and not any(turn.role == "assistant" for turn in document.turns):
        raise DataError(
            f"{document.where}: the assistant says nothing in it, so nothing can be learned from it",
            hint="correct the record, or leave it out",
        )
    if document.turns:
        samples = list(_conversation(document, encoder, max_length, loss))
    else:
        samples = list(_prose(document, encoder, max_length, heading_context))
    for sample, text in samples:
        if encoder.tokenizer.decode(sample.ids) != text:
            raise DataError(
                f"{document.where}: the {encoder.tokenizer.kind} tokenizer does not give this text back unchanged",
                hint="please report this; another kind of tokenizer may work",
            )
    return [sample for sample, _ in samples]


def _prose(
    document: Document, encoder: CachingEncoder, max_length: int, heading_context: bool
) -> Iterator[tuple[Sample, str]]:
    room = max_length - 2  # <|bos|> and <|eos|>
    # Splitting counts the same stretches more than once, and encoding is what preparing spends its time on.
    encoded: dict[str, list[int]] = {}

    def encode(part: str) -> list[int]:
        if part not in encoded:
            encoded[part] = encoder.encode(part)
        return encoded[part]

    def count(part: str) -> int:
        surely_too_long = len(part) > room * MAX_PIECE_CHARACTERS
        return len(part) if surely_too_long else len(encode(part))

    chunks = split_text(document.text, document.kind, count, room, heading_context=heading_context)
    for number, chunk in enumerate(chunks, start=1):
        text = chunk.context + chunk.text
        yield render_prose(encode(text), encoder.tokenizer, last=number == len(chunks)), text


def _conversation(
    document: Document, encoder: CachingEncoder, max_length: int, loss: Loss
) -> Iterator[tuple[Sample, str]]:
    def count(turns: tuple[Turn, ...]) -> int:
        return len(render_conversation(turns, encoder.tokenizer, encoder.encode).ids)

    for turns in split_conversation(document.turns, count, max_length):
        sample = render_conversation(turns, encoder.tokenizer, encoder.encode, loss=loss)
        yield sample, "".join(turn.content for turn in turns)
