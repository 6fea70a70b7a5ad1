"""Description and default of settings that are options, for help texts that must not wait for pydantic.

Written by docs/make_reference.py from the schema; edit that, not this file.
"""

# fmt: off
DATA_HELP: dict[str, str] = {
    "dir": "The prepared dataset; made from `sources` when missing or stale.",
    "default_excludes": "Leave out of folders what is hidden, installed, built, minified or generated: `node_modules`, virtual environments, `_build`, `*.min.*`, lock files and the like. [default: True]",
    "respect_gitignore": "Leave out of folders what git ignores. [default: True]",
    "tokenizer": "Kind of SentencePiece tokenizer to train. [default: bpe]",
    "vocab_size": "Tokens in the vocabulary; by default chosen from the size of the corpus.",
    "tokenizer_from": "Reuse this tokenizer (a `.model` file or a prepared dataset; on the command line also that of any model, named as for `nima train --init-from`) instead of training one.",
    "max_length": "Tokens in a sample; longer documents are split, not cut. [default: 512]",
    "min_length": "Characters; shorter documents are dropped and counted. [default: 32]",
    "train_ratio": "Share of the documents to train on. [default: 0.8]",
    "val_ratio": "Share for validation; what is left is the test split. [default: 0.1]",
    "seed": "Seed of the shuffle before the split. [default: 42]",
    "dedupe": "Before the split, remove documents that say nearly the same, only those that are equal up to case and white space, or none. [default: near]",
    "loss": "Learn every token, or in Q&A and chats only what the assistant says. [default: all]",
    "on_error": "At a bad record: stop, or drop it and count it. [default: stop]",
    "fields": "Keys of records that have other names: `{question: Question, answer: data.reply}` takes the question from `Question` and the answer from `reply` in `data`.",
    "encoding": "What files are in that are not UTF-8, such as `windows-1252`; by default they are errors.",
    "normalize": "Unicode normalisation; `none` changes nothing. [default: none]",
    "strip_markup": "Take front matter, comments, shortcodes and layout tags out of Markdown, never out of code, and turn reStructuredText, AsciiDoc and Org into Markdown; else both are learnt as they are written. [default: True]",
    "include_code": "Take source code from folders too; each file becomes a document under its name. [default: False]",
    "keep_links": "Keep the targets of Markdown links; else only their text is left. [default: True]",
    "heading_context": "Begin a piece of a split document with the headings that it is under. [default: True]",
    "max_characters": "Characters; longer documents are dropped and counted. By default none is.",
    "max_repetition": "Drop documents of which a larger share repeats itself. By default none is.",
    "max_non_text": "Drop documents of which a larger share is no language. By default none is.",
    "max_boilerplate": "Drop documents of which a larger share is lines that very many share. By default none is.",
}

SAMPLING_HELP: dict[str, str] = {
    "temperature": "Randomness; 0 always takes the most likely token. [default: 0.8]",
    "top_k": "Choose among this many most likely tokens; 0 takes all. [default: 50]",
    "top_p": "Choose among the most likely tokens of this total probability. [default: 0.95]",
    "min_p": "Drop tokens below this share of the most likely one. [default: 0.0]",
    "repetition_penalty": "Above 1: repeat less of what was already said; 1 is off. [default: 1.0]",
}
