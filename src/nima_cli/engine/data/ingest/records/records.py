"""Converts records (qa, chat and doc, in their usual spellings) to documents."""

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from nima_cli.config.record_keys import (
    ANSWER_KEYS,
    CONTEXT_KEYS,
    MESSAGE_KEYS,
    QUESTION_KEYS,
    SYSTEM_KEYS,
    TEXT_KEYS,
    TITLE_KEY,
)
from nima_cli.config.strict_yaml import inline
from nima_cli.engine.data.diagnostics import Diagnostic, UnusableError, printable
from nima_cli.engine.data.document import Document, Turn
from nima_cli.engine.data.ingest.records.conversations import RecordNotes, read_turns
from nima_cli.engine.data.ingest.records.strict_json import filled, keys_found, text, type_name

_ABSENT = object()
_KNOWN = "known are `question` and `answer`, `messages`, `title` and `content`, or `text`"
# Other words for our keys, in lower case and without punctuation.
_SYNONYMS = {
    "question": ("q", "ques", "questiontext", "problem", "user", "human", "ask", "userprompt", "usermessage",
                 *QUESTION_KEYS),
    "answer": ("a", "ans", "answertext", "reply", "solution", "target", "assistant", "bot", "gpt", "assistantmessage",
               "bestanswer", *ANSWER_KEYS),
    "messages": ("dialog", "dialogue", "dialogs", "chat", "turns", "history", *MESSAGE_KEYS),
    "content": ("contents", "article", "document", "passage", "description", "markdown", "abstract", "summary",
                "pagecontent", *TEXT_KEYS),
    "title": ("heading", "headline", "subject", TITLE_KEY),
}  # fmt: skip
_MEANINGS = {word.replace("_", ""): ours for ours, words in _SYNONYMS.items() for word in words}


@dataclass(frozen=True)
class Shape:
    """One way to write a record: the keys that it must have, and those that it may have."""

    format: Literal["qa", "chat", "doc"]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @cached_property
    def known(self) -> frozenset[str]:
        return frozenset((*self.required, *self.optional))


def _qa_shape(asked: str, answered: str) -> Shape:
    # In an FAQ `system` may as well be what the question is about; only data for instructions has it as a prompt.
    system = SYSTEM_KEYS if (asked, answered) != ("question", "answer") else SYSTEM_KEYS[1:]
    return Shape("qa", (asked, answered), (*(CONTEXT_KEYS if asked == "instruction" else ()), *system))


_COMMON_PAIRS = (("question", "answer"), ("instruction", "output"), ("prompt", "completion"))
# In the order in which they are tried; a record with both `text` and `content` is taken for its `content`.
SHAPES = (
    *(Shape("chat", (key,), SYSTEM_KEYS) for key in MESSAGE_KEYS),
    *(_qa_shape(*pair) for pair in dict.fromkeys((*_COMMON_PAIRS, *itertools.product(QUESTION_KEYS, ANSWER_KEYS)))),
    *(Shape("doc", (key,), (TITLE_KEY,)) for key in TEXT_KEYS),
)
# What a mapping may name beside any shape.
_MAPPABLE = {"qa": (*CONTEXT_KEYS, *SYSTEM_KEYS), "chat": SYSTEM_KEYS, "doc": ()}


def detect(keys: Iterable[str]) -> Shape | None:
    """The shape that a record with these keys has, or None."""
    found = set(keys)
    return next((shape for shape in SHAPES if found.issuperset(shape.required)), None)


@dataclass(slots=True)
class RecordReader:
    """Converts the records of one file to documents; the first record that fits a shape decides for the file."""

    format: str  # `qa`, `chat`, `doc`, or `auto`
    source: int
    # Our keys -> theirs, where `a.b` is `b` in the object `a`, and `a.0` the first item of the list `a`.
    fields: Mapping[str, str] = field(default_factory=dict)
    shape: Shape | None = None
    notes: RecordNotes = field(default_factory=RecordNotes)

    def convert(self, value: Any, where: str) -> Document | Diagnostic:
        """Convert one decoded JSON value to a document, or say what is wrong with it (`empty`: nothing to learn)."""
        try:
            if not isinstance(value, dict):
                raise UnusableError(f"expected a record (an object), found {type_name(value)}", "not_a_record")
            record = self._mapped(value) if self.fields else value
            shape = self.shape
            if shape is None or not all(key in record for key in shape.required):
                shape = self.shape = self._choose(record)
            if not shape.known.issuperset(record):
                self.notes.unused_keys |= record.keys() - shape.known
            if shape.format == "doc":
                return self._prose(shape, record, where)
            key = shape.required[0]
            turns = _exchange(shape, record) if shape.format == "qa" else read_turns(record[key], key, self.notes)
            return Document(shape.format, self.source, where, turns=self._under_system(shape, record, turns))
        except UnusableError as error:
            return error.at(where)

    def _mapped(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record under our keys; one of our keys keeps its value where theirs is absent."""
        self.notes.keys |= record.keys()
        found = {ours: value for ours, key in self.fields.items() if (value := _at(record, key)) is not _ABSENT}
        self.notes.fields.update((ours, self.fields[ours]) for ours in found)
        taken = {key if key in record else key.partition(".")[0] for key in map(self.fields.__getitem__, found)}
        return {**{key: value for key, value in record.items() if key not in taken}, **found}

    def _choose(self, record: dict[str, Any]) -> Shape:
        candidates = [self.shape] if self.shape else self._candidates()
        for shape in candidates:
            if record.keys() >= set(shape.required):
                return shape
        raise self._no_fit(record, candidates)

    def _candidates(self) -> list[Shape]:
        """The shapes to try; those that the mapping names come first, with optional keys that it adds."""
        shapes = [shape for shape in SHAPES if self.format in ("auto", shape.format)]
        for index, one in enumerate(shapes):
            more = [key for key in self.fields if key in _MAPPABLE[one.format] and key not in one.known]
            shapes[index] = replace(one, optional=(*one.optional, *more))
        return sorted(shapes, key=lambda shape: -len(self.fields.keys() & set(shape.required)))

    def _no_fit(self, record: dict[str, Any], candidates: list[Shape]) -> UnusableError:
        first = self.shape is None
        if first and {"chosen", "rejected"} <= record.keys():
            what = f"two answers of which one is preferred; {keys_found(record)}"
            return UnusableError(what, "preference", hint=_preference_hint(record))
        nearest = max(candidates, key=lambda shape: len(record.keys() & set(shape.required)))
        if first and self.format == "auto" and not record.keys() & set(nearest.required):
            what = f"no known kind of record; {keys_found(record)}"
            return UnusableError(what, "missing_key", hint=_mapping_hint(record))
        other = detect(record)
        if not first:
            hint = "the records of one file must have one shape; split the file" if other else None
        else:
            hint = f"such records fit `format={other.format}`" if other else _mapping_hint(record)
        missing = ", ".join(f"`{key}`" for key in nearest.required if key not in record)
        return UnusableError(f"missing {missing}; {keys_found(record)}", "missing_key", hint=hint)

    def _prose(self, shape: Shape, record: dict[str, Any], where: str) -> Document:
        key = shape.required[0]
        body = filled(record, key)
        title = " ".join(text(record.get(TITLE_KEY) or "", TITLE_KEY).split())
        if title:
            return Document("markdown", self.source, where, text=f"# {title}\n\n{body}")
        return Document("text" if key == "text" else "markdown", self.source, where, text=body)

    def _under_system(self, shape: Shape, record: dict[str, Any], turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        """Put the system text of the record before the turns, unless they have one; note what is not used."""
        for key in SYSTEM_KEYS:
            if key in record and key in shape.optional and (value := record[key]):
                if turns[0].role != "system" and isinstance(value, str) and value.strip():
                    turns = (Turn("system", text(value, key)), *turns)
                else:
                    self.notes.unused_keys.add(key)
        return turns


def _at(record: dict[str, Any], key: str) -> Any:
    """The value of a key; `a.b` is looked up inside `a` where no key is called so."""
    if key in record:
        return record[key]
    value: Any = record
    for part in key.split("."):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return _ABSENT
    return value


def _exchange(shape: Shape, record: dict[str, Any]) -> tuple[Turn, Turn]:
    asked, answered = shape.required
    question, answer = filled(record, asked), filled(record, answered)
    for key in shape.optional:
        if key in record and key in CONTEXT_KEYS:
            more = text(record[key] or "", key)
            question = f"{question}\n\n{more}" if more.strip() else question
    return Turn("user", question), Turn("assistant", answer)


def _mapping_hint(record: dict[str, Any]) -> str:
    """What to do about an unknown record: the mapping that its keys suggest, or else the known keys."""
    guessed = _guess(record)
    if guessed:
        # As a list, so that YAML quotes characters that would end an item of a mapping.
        mapping = ", ".join(f"{ours}: {inline([key])[1:-1]}" for ours, key in guessed.items())
        return f"map its keys: `data.fields: {{{mapping}}}`"
    return f"{_KNOWN}; other keys can be mapped, as in `data.fields: {{question: KEY, answer: KEY}}`"


def _preference_hint(record: dict[str, Any]) -> str:
    if isinstance(record["chosen"], list):
        key = "messages"
    else:
        key = "answer" if record.keys() & set(QUESTION_KEYS) else "text"
    return f"nima does not learn preferences; to learn what was chosen alone: `data.fields: {{{key}: chosen}}`"


def _guess(record: dict[str, Any]) -> dict[str, str]:
    """Our keys -> keys of the record or of objects in it, if they make a known shape; else empty."""
    inside = [(key, value) for key, value in record.items() if isinstance(value, dict)]
    named = [(key, key, value) for key, value in record.items()]
    named += [(inner, f"{key}.{inner}", deep) for key, value in inside for inner, deep in value.items()]
    found: dict[str, str] = {}
    for name, key, value in named:
        ours = _MEANINGS.get(re.sub(r"[\W_]", "", name).lower())
        if ours and isinstance(value, list if ours == "messages" else str):
            found.setdefault(ours, printable(key))
    for shape in (("messages",), ("question", "answer"), ("title", "content"), ("content",)):
        if found.keys() >= set(shape):
            return {ours: found[ours] for ours in shape if found[ours] != ours}
    return {}
