"""Lossless tokenizers: SentencePiece (Kudo and Richardson, EMNLP 2018) with byte fallback, without normalisation.

Special symbols are CONTROL symbols, which text never produces, whatever it spells.
"""

import functools
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import sentencepiece

from nima_cli.engine.data.document import Role
from nima_cli.engine.data.tokenizer import sentencepiece_file as layout
from nima_cli.engine.data.tokenizer.chat_format import SymbolChat
from nima_cli.engine.data.tokenizer.hf_tokenizer import hf_json
from nima_cli.errors import CheckpointError, DataError, InputError

_TRAINING_THREADS = 4  # on which the result of unigram training depends
# Chosen by measurement: benchmarks/tokenizer_settings.py, docs/decisions/0011-tokenizer-settings.md.
_MEASURED_OPTIONS: dict[str, Any] = {"allow_whitespace_only_pieces": True, "split_digits": True}
_MAX_SENTENCE_CHARACTERS = 4096
_SENTENCE_BREAK = re.compile("[\n\t\0\u2581\u2585]+")


class SentencePieceTokenizer:
    """A trained vocabulary, for which `decode(encode(text)) == text`; made by `train` or `from_bytes`.

    It is a `protocol.Tokenizer`, with more attributes:
        pieces: see `piece`; id 0 is `<unk>`, which no text produces.
        end_id, role_ids: the symbols of its chat format.
    """

    lossless = True
    has_chat_template = False
    longest_piece = layout.MAX_PIECE_CHARACTERS

    def __init__(self, proto: bytes, kind: str, pieces: tuple[str, ...]) -> None:
        self.kind, self.pieces, self.proto = kind, pieces, proto
        self.vocab_size = len(pieces)
        self.sha256 = hashlib.sha256(proto).hexdigest()
        ids = {symbol: token_id for token_id, symbol in enumerate(layout.CONTROL_SYMBOLS, start=1)}
        self.bos_id, self.eos_id = ids[layout.BOS], ids[layout.EOS]
        self.pad_id, self.end_id = ids[layout.PAD], ids[layout.END]
        self.role_ids: dict[Role, int] = {role: ids[symbol] for role, symbol in layout.ROLE_SYMBOLS.items()}
        self.special_ids = self.stop_ids = frozenset(ids.values())
        self.chat = SymbolChat(self.bos_id, self.eos_id, self.end_id, self.role_ids, self.encode)
        symbols = [b""] * (1 + len(layout.CONTROL_SYMBOLS)) + [symbol.encode() for symbol in layout.USER_SYMBOLS]
        single = [bytes([value]) for value in range(256)]
        self._bytes = [*symbols, *single, *(piece.encode() for piece in pieces[layout.FIRST_NORMAL_ID :])]
        self._native = sentencepiece.SentencePieceProcessor(model_proto=proto)
        self._mark_ids = [layout.FIRST_BYTE_ID + byte for byte in layout.SPACE_MARK.encode("utf-8")]

    @classmethod
    def train(
        cls, texts: Iterable[str], *, kind: str, vocab_size: int, exact: bool = True, **trainer_options: bool
    ) -> "SentencePieceTokenizer":
        """Learn a vocabulary from `texts`; the same texts in the same order give the same bytes on any machine.

        Args:
            texts: documents; no piece will span two lines.
            kind: bpe, unigram or char.
            vocab_size: token ids wanted, special symbols and bytes included.
            exact: fail if the texts do not support that size; otherwise take the nearest size that works.
            trainer_options: of SentencePiece.

        Raises:
            DataError: no text, or a size that the texts do not support; names one that they do.
        """
        sentences = list(_sentences(texts))
        if not sentences:
            raise DataError("cannot train a tokenizer: there is no text")
        if not any(" " in sentence for sentence in sentences):
            sentences.append(" ")  # a character that never occurs gets a score of -infinity
        run = functools.partial(_run_trainer, sentences, kind, trainer_options)
        try:
            proto = run(vocab_size, hard=exact and kind != "char")
        except RuntimeError as error:
            greatest = re.search(r"value <= (\d+)", str(error))
            least = re.search(r"required_chars\. \d+ vs (\d+)", str(error))
            if greatest:
                raise _size_error(vocab_size, f"at most {greatest[1]}") from error
            if not least:
                raise DataError(f"cannot train a {kind} tokenizer on this text: {_one_line(error)}") from error
            if exact:
                raise _size_error(vocab_size, f"at least {least[1]}") from error
            proto = run(int(least[1]) + vocab_size, hard=False)
        tokenizer = cls.from_bytes(proto, where="the trained tokenizer")
        if kind == "char" and exact and tokenizer.vocab_size < vocab_size:
            raise _size_error(vocab_size, f"at most {tokenizer.vocab_size}")
        return tokenizer

    @classmethod
    def from_bytes(cls, proto: bytes, *, where: str) -> "SentencePieceTokenizer":
        """Load a SentencePiece file from memory, checked in Python before native code sees it.

        Raises:
            CheckpointError: damaged, or not of the kind that nima trains; `where` names it.
        """
        kind, pieces = layout.read_vocabulary(proto, where)
        try:
            tokenizer = cls(proto, kind, pieces)
        except (RuntimeError, ValueError, OSError) as error:
            raise CheckpointError(f"{where}: SentencePiece cannot load this tokenizer: {_one_line(error)}") from error
        if tokenizer._native.vocab_size() != tokenizer.vocab_size:
            raise CheckpointError(f"{where}: SentencePiece counts {tokenizer._native.vocab_size()} pieces, not ours")
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special symbols; raises `InputError` for lone surrogates."""
        parts = text.split(layout.SPACE_MARK)
        try:
            ids: list[int] = self._native.encode(parts[0])
            for part in parts[1:]:  # SentencePiece would encode its mark for a space as a space
                ids += self._mark_ids
                if part:
                    ids += self._native.encode(part)
        except RuntimeError:
            raise InputError("the text is not valid Unicode: it holds a lone surrogate") from None
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; special symbols give no text, and bytes that form no character give U+FFFD."""
        table = self._bytes
        return b"".join([table[token_id] for token_id in ids]).decode("utf-8", errors="replace")

    def piece(self, token_id: int) -> str:
        """One token for people: its text, `<0x0A>` for a byte, or a special symbol such as `<|bos|>`."""
        return self.pieces[token_id]

    def byte_lengths(self) -> np.ndarray:
        """int32 [V]: the number of UTF-8 bytes of each id, 0 for special symbols."""
        return np.fromiter(map(len, self._bytes), dtype=np.int32, count=self.vocab_size)

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes of one id; none for special symbols and ids beyond the vocabulary."""
        return self._bytes[token_id] if token_id < self.vocab_size else b""

    def scores(self) -> list[float]:
        """SentencePiece's score of each piece: the order of merges for bpe, a log probability for unigram."""
        return [float(self._native.get_score(token_id)) for token_id in range(self.vocab_size)]

    def hf_json(self) -> str | None:
        """A Hugging Face `tokenizer.json` with the same ids, or None if that format cannot promise them."""
        return hf_json(self.kind, self.pieces)


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    """Cut texts for training at line ends and at characters for which SentencePiece would skip the whole line.

    Long lines are cut, too, because a blob would slow training down.
    """
    for text in texts:
        for line in _SENTENCE_BREAK.split(text):
            for start in range(0, len(line), _MAX_SENTENCE_CHARACTERS):
                yield line[start : start + _MAX_SENTENCE_CHARACTERS]


def _size_error(wanted: int, possible: str) -> DataError:
    return DataError(
        f"`vocab_size` {wanted} does not fit this text: {possible} tokens are possible",
        hint="give such a `vocab_size=`, or leave it out to let nima choose",
    )


def _run_trainer(
    sentences: Sequence[str], kind: str, options: dict[str, bool], vocab_size: int, *, hard: bool
) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type=kind,
        vocab_size=vocab_size,
        hard_vocab_limit=hard,
        byte_fallback=True,
        required_chars=layout.SPACE_MARK,  # spelled in bytes it would be decoded to the mark, not to a space
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        **(_MEASURED_OPTIONS | options),
        control_symbols=list(layout.CONTROL_SYMBOLS[3:]),
        user_defined_symbols=list(layout.USER_SYMBOLS),
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        unk_piece=layout.UNKNOWN,
        bos_piece=layout.BOS,
        eos_piece=layout.EOS,
        pad_piece=layout.PAD,
        max_sentencepiece_length=layout.MAX_PIECE_CHARACTERS,
        max_sentence_length=4 * _MAX_SENTENCE_CHARACTERS,
        num_threads=_TRAINING_THREADS,
        minloglevel=3,
    )
    return model.getvalue()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
