"""A vocabulary in the JSON format of Hugging Face `tokenizers`, which gives the same ids."""

import json

from nima_cli.engine.data.tokenizer.sentencepiece_file import (
    CONTROL_SYMBOLS,
    FIRST_NORMAL_ID,
    UNKNOWN,
    USER_SYMBOLS,
    Vocabulary,
)


def hf_json(vocabulary: Vocabulary) -> str | None:
    """The contents of a `tokenizer.json`; None where that format cannot promise the same ids.

    BPE merges are every way to cut a piece into two pieces, in the order of the pieces' scores, which is their id
    order. A char tokenizer is BPE without merges. Spaces stay spaces: without SentencePiece's mark for them there is
    nothing that text could be confused with. A unigram model is left out: there the two libraries add up scores in
    different precision, so that ties fall differently, as in every longer rule of dashes; and that format reads byte
    pieces that text spells out, such as `<0x41>`, as bytes.
    """
    if vocabulary.kind == "unigram":
        return None
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    symbols = enumerate((*CONTROL_SYMBOLS, *USER_SYMBOLS), start=1)
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token_id, "content": symbol, **flags, "special": symbol in CONTROL_SYMBOLS}
            for token_id, symbol in symbols
        ],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": UNKNOWN,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: token_id for token_id, piece in enumerate(vocabulary.pieces)},
            "merges": _merges(vocabulary.pieces[FIRST_NORMAL_ID:]),
        },
    }
    return json.dumps(tokenizer, ensure_ascii=False, indent=1) + "\n"


def _merges(normal: tuple[str, ...]) -> list[list[str]]:
    known = set(normal)
    return [
        [piece[:cut], piece[cut:]]
        for piece in normal
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]
