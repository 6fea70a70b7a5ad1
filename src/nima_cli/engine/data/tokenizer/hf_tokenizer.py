"""Writes a vocabulary in the JSON format of Hugging Face `tokenizers`."""

import json

from nima_cli.engine.data.tokenizer.sentencepiece_file import CONTROL_SYMBOLS, FIRST_NORMAL_ID, UNKNOWN, USER_SYMBOLS


def hf_json(kind: str, pieces: tuple[str, ...]) -> str | None:
    """The contents of a `tokenizer.json`; None for a unigram vocabulary, for which the ids could differ.

    BPE merges are all ways to cut a piece into two pieces, in the order of the pieces' scores, which is that of their
    ids. A char tokenizer is BPE without merges. Spaces need no mark, so text cannot be confused with one. For unigram
    the two libraries add scores in different precision and break ties differently, as in any long row of dashes, and
    the format reads spelled byte pieces such as `<0x41>` as bytes.
    """
    if kind == "unigram":
        return None
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": token_id, "content": symbol, **flags, "special": symbol in CONTROL_SYMBOLS}
        for token_id, symbol in enumerate((*CONTROL_SYMBOLS, *USER_SYMBOLS), start=1)
    ]
    normal = pieces[FIRST_NORMAL_ID:]
    known = set(normal)
    cuts = ((piece[:cut], piece[cut:]) for piece in normal for cut in range(1, len(piece)))
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
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
            "vocab": {piece: token_id for token_id, piece in enumerate(pieces)},
            "merges": [[left, right] for left, right in cuts if left in known and right in known],
        },
    }
    return json.dumps(tokenizer, ensure_ascii=False, indent=1) + "\n"
