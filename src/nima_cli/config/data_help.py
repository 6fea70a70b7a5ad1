"""Description and default of each key of `data`, for help texts that must not wait for pydantic.

Written by docs/make_reference.py from the schema; edit that, not this file.
"""

# fmt: off
DATA_HELP: dict[str, str] = {
    "dir": "The prepared dataset; made from `sources` when missing or stale.",
    "tokenizer": "Kind of SentencePiece tokenizer to train. [default: bpe]",
    "vocab_size": "Tokens in the vocabulary; by default chosen from the size of the corpus.",
    "tokenizer_from": "Reuse this tokenizer (a `.model` file or a prepared dataset) instead of training one.",
    "max_length": "Tokens in a sample; longer documents are split, not cut. [default: 512]",
    "min_length": "Characters; shorter documents are dropped and counted. [default: 32]",
    "train_ratio": "Share of the documents to train on. [default: 0.8]",
    "val_ratio": "Share for validation; what is left is the test split. [default: 0.1]",
    "seed": "Seed of the shuffle before the split. [default: 42]",
    "dedupe": "Remove documents that are equal up to case and white space, before the split. [default: exact]",
    "loss": "Learn every token, or in Q&A and chats only what the assistant says. [default: all]",
    "on_error": "At a bad record: stop, or drop it and count it. [default: stop]",
}
