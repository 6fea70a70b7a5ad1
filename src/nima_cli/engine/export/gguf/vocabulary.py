"""Says a tokenizer in GGUF: the keys that llama.cpp reads, as they are called in the writer of the `gguf` package."""

from pathlib import Path
from typing import Any

from nima_cli.engine.data.tokenizer.chat_format import CHAT_TEMPLATE
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.data.tokenizer.sentencepiece_file import (
    CONTROL_SYMBOLS,
    FIRST_BYTE_ID,
    FIRST_NORMAL_ID,
    SPACE_MARK,
    USER_SYMBOLS,
)
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.export.gguf import hf_vocabulary
from nima_cli.errors import CheckpointError

Vocabulary = dict[str, Any]

# Keys with one value for each token or merge, by their names in the file.
_LISTS = {"tokens": "token_list", "scores": "token_scores", "token_type": "token_types", "merges": "token_merges"}


def vocabulary_of(tokenizer: Tokenizer, rows: int, where: str) -> Vocabulary:
    """The vocabulary for an embedding of so many rows.

    Raises:
        CheckpointError: the tokenizer would give other ids in llama.cpp.
    """
    if isinstance(tokenizer, HFTokenizer):
        return hf_vocabulary.keys_of(tokenizer, rows, where)
    assert isinstance(tokenizer, SentencePieceTokenizer), "there is no third kind"
    _check(tokenizer, where)
    return {
        "tokenizer_model": "llama",
        "tokenizer_pre": "default",
        "token_list": [piece.replace(" ", SPACE_MARK) for piece in tokenizer.pieces],
        "token_scores": tokenizer.scores(),
        "token_types": _types(tokenizer),
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "eot_token_id": tokenizer.end_id,
        "pad_token_id": tokenizer.pad_id,
        "unk_token_id": 0,
        "add_bos_token": True,
        "add_eos_token": False,
        "add_space_prefix": False,
        "remove_extra_whitespaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def lists(vocabulary: Vocabulary) -> dict[str, list[Any]]:
    """What has one value for each token or merge, by the names in the file after `tokenizer.ggml.`."""
    return {theirs: vocabulary[ours] for theirs, ours in _LISTS.items() if ours in vocabulary}


def limits(tokenizer: Tokenizer, vocabulary: Vocabulary) -> list[str]:
    """What llama.cpp does otherwise with this vocabulary than the tokenizer; the card says it of nima's own."""
    return hf_vocabulary.limits(tokenizer, vocabulary) if isinstance(tokenizer, HFTokenizer) else []


def check_reading(path: Path, tokenizer: Tokenizer, where: str) -> str:
    """Compare the ids of the vocabulary in a file with the tokenizer's; returns what was compared, if anything."""
    return hf_vocabulary.check_reading(path, tokenizer, where) if isinstance(tokenizer, HFTokenizer) else ""


def _check(tokenizer: SentencePieceTokenizer, where: str) -> None:
    if tokenizer.kind == "unigram":
        raise CheckpointError(
            f"{where}: a unigram tokenizer cannot be said in GGUF: llama.cpp has no byte fallback for it",
            hint="use `format=safetensors`, or train with a bpe tokenizer",
        )
    # llama.cpp merges two neighbours into any piece that they spell, even into a special one.
    known = set(tokenizer.pieces)
    for symbol in tokenizer.pieces[:FIRST_NORMAL_ID]:
        if any(symbol[:cut] in known and symbol[cut:] in known for cut in range(1, len(symbol))):
            raise CheckpointError(f"{where}: text could spell the special symbol `{symbol}` in llama.cpp")


def _types(tokenizer: SentencePieceTokenizer) -> list[int]:
    """The type of each piece, in the numbers of SentencePiece, which GGUF shares."""
    front = [2] + [3] * len(CONTROL_SYMBOLS) + [4] * len(USER_SYMBOLS) + [6] * (FIRST_NORMAL_ID - FIRST_BYTE_ID)
    return front + [1] * (tokenizer.vocab_size - len(front))
