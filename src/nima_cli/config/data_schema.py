"""The settings of preparing data, with their types, defaults, bounds and descriptions."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from nima_cli.config.record_keys import RECORD_KEYS
from nima_cli.config.section import Float, Int, Name, Section, optional, setting
from nima_cli.config.synonyms import closest

BUILTIN_SOURCE = "builtin:python-docs"


def _known_keys(fields: dict[str, str]) -> dict[str, str]:
    for key in fields:
        if key not in RECORD_KEYS:
            near = closest(key.lower(), RECORD_KEYS)
            known = ", ".join(f"`{one}`" for one in RECORD_KEYS)
            hint = f"did you mean `{near}`?" if near else f"known are {known}"
            raise ValueError(f"`{key}` is no key of records that nima knows; {hint}")
    return fields


def _valid_patterns(patterns: list[str]) -> list[str]:
    if patterns:
        from pathspec import GitIgnoreSpec

    for pattern in patterns:
        try:
            GitIgnoreSpec.from_lines([pattern])
        except ValueError as error:
            raise ValueError(f"`{pattern}` is no pattern of a `.gitignore` file") from error
    return patterns


def _known_encoding(name: str) -> str:
    try:
        b"x".decode(name, "ignore")
    except (LookupError, ValueError) as error:
        raise ValueError(f"`{name}` is no text encoding known here, such as `windows-1252` or `utf-16-le`") from error
    return name


# Keys of records that nima knows -> the keys that stand for them in the files.
Fields = Annotated[dict[Name, Name], AfterValidator(_known_keys)]
Patterns = Annotated[list[Name], AfterValidator(_valid_patterns)]
Encoding = Annotated[Name, AfterValidator(_known_encoding)]


class SourceConfig(Section):
    """One source of documents."""

    path: Name = Field(description="A file, folder, glob, or `builtin:python-docs`.")
    format: Literal["auto", "text", "markdown", "qa", "chat", "doc"] = setting(
        "auto", "Shape of the contents; `auto` decides per file from its suffix and keys."
    )
    container: Literal["auto", "text", "json", "jsonl"] = setting(
        "auto", "What the files are and which of a folder are taken; `auto` goes by their suffix."
    )
    weight: Float = setting(1.0, "How often the source is drawn in an epoch; train split only.", gt=0.0, le=100.0)
    name: Name | None = optional("Name in reports; by default made from the path.")
    fields: Fields | None = optional(
        "As `data.fields`, for the records of this source; where both name a key, this one counts."
    )
    exclude: Patterns = setting([], "More patterns like those of `data.exclude`, for this source.")

    @model_validator(mode="after")
    def _check_container(self) -> "SourceConfig":
        prose, records = self.format in ("text", "markdown"), self.format in ("qa", "chat", "doc")
        if (prose and self.container in ("json", "jsonl")) or (records and self.container == "text"):
            raise ValueError(f"`format` {self.format} and `container` {self.container} contradict each other")
        return self


class DataConfig(Section):
    """What to learn from, and how it becomes a prepared dataset."""

    dir: Name | None = optional("The prepared dataset; made from `sources` when missing or stale.")
    sources: list[SourceConfig] = setting(
        [], "Documents to prepare from; with neither this nor `dir`, the embedded source."
    )
    exclude: Patterns = setting(
        [],
        "Patterns as in `.gitignore`, below each folder that is walked, of what is left out; `!pattern` "
        "takes back what else is left out. A file that is named itself is always read.",
    )
    default_excludes: bool = setting(
        True,
        "Leave out of folders what is hidden, installed, built, minified or generated: `node_modules`, "
        "virtual environments, `_build`, `*.min.*`, lock files and the like.",
    )
    respect_gitignore: bool = setting(True, "Leave out of folders what git ignores.")
    tokenizer: Literal["bpe", "unigram", "char"] = setting("bpe", "Kind of SentencePiece tokenizer to train.")
    vocab_size: Int | None = optional(
        "Tokens in the vocabulary; by default chosen from the size of the corpus.", ge=300, le=65536
    )
    tokenizer_from: Name | None = optional(
        "Reuse this tokenizer (a `.model` file or a prepared dataset; on the command line also that of any model, "
        "named as for `nima train --init-from`) instead of training one.",
    )
    max_length: Int = setting(512, "Tokens in a sample; longer documents are split, not cut.", ge=16, le=131072)
    min_length: Int = setting(32, "Characters; shorter documents are dropped and counted.", ge=1)
    train_ratio: Float = setting(0.8, "Share of the documents to train on.", gt=0.0, lt=1.0)
    val_ratio: Float = setting(0.1, "Share for validation; what is left is the test split.", gt=0.0, lt=1.0)
    seed: Int = setting(42, "Seed of the shuffle before the split.", ge=0, lt=2**63)
    dedupe: Literal["near", "exact", "off"] = setting(
        "near",
        "Before the split, remove documents that say nearly the same, only those that are equal up to case "
        "and white space, or none.",
    )
    loss: Literal["all", "assistant"] = setting(
        "all", "Learn every token, or in Q&A and chats only what the assistant says."
    )
    on_error: Literal["stop", "skip"] = setting("stop", "At a bad record: stop, or drop it and count it.")
    fields: Fields | None = optional(
        "Keys of records that have other names: `{question: Question, answer: data.reply}` takes the "
        "question from `Question` and the answer from `reply` in `data`.",
    )
    encoding: Encoding | None = optional(
        "What files are in that are not UTF-8, such as `windows-1252`; by default they are errors."
    )
    normalize: Literal["none", "nfc"] = setting("none", "Unicode normalisation; `none` changes nothing.")
    strip_markup: bool = setting(
        True,
        "Take front matter, comments, shortcodes and layout tags out of Markdown, never out of code, and "
        "turn reStructuredText, AsciiDoc and Org into Markdown; else both are learnt as they are written.",
    )
    include_code: bool = setting(
        False, "Take source code from folders too; each file becomes a document under its name."
    )
    keep_links: bool = setting(True, "Keep the targets of Markdown links; else only their text is left.")
    heading_context: bool = setting(True, "Begin a piece of a split document with the headings that it is under.")
    max_characters: Int | None = optional(
        "Characters; longer documents are dropped and counted. By default none is.", ge=1
    )
    max_repetition: Float | None = optional(
        "Drop documents of which a larger share repeats itself. By default none is.", gt=0.0, le=1.0
    )
    max_non_text: Float | None = optional(
        "Drop documents of which a larger share is no language. By default none is.", gt=0.0, le=1.0
    )
    max_boilerplate: Float | None = optional(
        "Drop documents of which a larger share is lines that very many share. By default none is.",
        gt=0.0,
        le=1.0,
    )

    @model_validator(mode="after")
    def _check_ratios(self) -> "DataConfig":
        if self.train_ratio + self.val_ratio >= 1.0:
            raise ValueError(
                f"`train_ratio` {self.train_ratio} + `val_ratio` {self.val_ratio} leave nothing for the test split"
            )
        if self.max_characters is not None and self.max_characters < self.min_length:
            raise ValueError(f"`max_characters` {self.max_characters} is below `min_length` {self.min_length}")
        if self.min_length > self.max_length * 64:
            raise ValueError(
                f"`min_length` {self.min_length} characters can never fit `max_length` {self.max_length} tokens"
            )
        return self
