"""Record shapes of JSON and JSON Lines (qa, chat, doc and their usual other names) to documents; knows no files."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nima_cli.config.record_keys import (
    ANSWER_KEYS,
    CONTEXT_KEYS,
    MESSAGE_KEYS,
    QUESTION_KEYS,
    SYSTEM_KEYS,
    TEXT_KEYS,
    TITLE_KEY,
)
from nima_cli.engine.data.diagnostics import Problem, printable
from nima_cli.engine.data.document import Document, Turn
from nima_cli.engine.data.ingest.records.conversations import read_turns
from nima_cli.engine.data.ingest.records.field_hints import known_hint, preference_hint
from nima_cli.engine.data.ingest.records.record_values import RefusedError, Seen, filled, text, type_name

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to write a record: the keys that must be there, and those that may be."""

    format: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


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


def _allowing(shape: Shape, keys: Iterable[str]) -> Shape:
    possible = {"qa": (*CONTEXT_KEYS, *SYSTEM_KEYS), "chat": SYSTEM_KEYS, "doc": ()}[shape.format]
    more = [key for key in keys if key in possible and key not in (*shape.required, *shape.optional)]
    return replace(shape, optional=(*shape.optional, *more)) if more else shape


def detect(keys: Iterable[str]) -> Shape | None:
    """The shape that a record with these keys has, or None."""
    found = set(keys)
    return next((shape for shape in SHAPES if found.issuperset(shape.required)), None)


@dataclass(slots=True)
class RecordReader:
    """Turns the records of one file into documents; the first record that fits a shape decides for the file.

    Attributes:
        format: `qa`, `chat`, `doc`, or `auto`.
        source: index of the source, passed on to the documents.
        fields: keys of ours -> keys of theirs, `a.b` for `b` in the object `a`, `a.0` for the first of the list `a`.
        shape: of the records, once one has fitted.
        seen: what was not used, and which entries of `fields` were.
    """

    format: str
    source: int
    fields: Mapping[str, str] = field(default_factory=dict)
    shape: Shape | None = None
    seen: Seen = field(default_factory=Seen)

    def convert(self, value: Any, where: str) -> Document | Problem:
        """One decoded JSON value to a document, or to what is wrong with it (`empty`: nothing to learn)."""
        try:
            if not isinstance(value, dict):
                raise RefusedError(f"expected a record (an object), found {type_name(value)}", "not_a_record")
            record = self._mapped(value) if self.fields else value
            shape = self._choose(record)
            self.seen.unused_keys.update(
                [key for key in record if key not in shape.required and key not in shape.optional]
            )
            return _BUILDERS[shape.format](shape, record, self, where)
        except RefusedError as error:
            return Problem(where, error.what, error.reason, error.hint)

    def _mapped(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record under our keys; a key of ours that is there keeps its value where theirs is absent."""
        self.seen.keys |= record.keys()
        found = {ours: value for ours, key in self.fields.items() if (value := _at(record, key)) is not _ABSENT}
        self.seen.fields.update((ours, self.fields[ours]) for ours in found)
        taken = {key if key in record else key.partition(".")[0] for key in map(self.fields.__getitem__, found)}
        return {**{key: value for key, value in record.items() if key not in taken}, **found}

    def _choose(self, record: dict[str, Any]) -> Shape:
        candidates = [self.shape] if self.shape else self._candidates()
        for shape in candidates:
            if record.keys() >= set(shape.required):
                self.shape = shape
                return shape
        raise self._no_fit(record, candidates)

    def _candidates(self) -> list[Shape]:
        """The shapes to try; what the mapping names comes first, and may stand where it usually would not."""
        shapes = [shape for shape in SHAPES if self.format in ("auto", shape.format)]
        if self.fields:
            shapes = [_allowing(shape, self.fields.keys()) for shape in shapes]
            shapes.sort(key=lambda shape: -len(self.fields.keys() & set(shape.required)))
        return shapes

    def _no_fit(self, record: dict[str, Any], candidates: list[Shape]) -> RefusedError:
        found = ", ".join(f"`{printable(key)}`" for key in record) or "none"
        if self.shape is None and {"chosen", "rejected"} <= record.keys():
            what = f"two answers of which one is preferred; keys found: {found}"
            return RefusedError(what, "preference", preference_hint(record))
        nearest = max(candidates, key=lambda shape: len(record.keys() & set(shape.required)))
        if self.format == "auto" and self.shape is None and not record.keys() & set(nearest.required):
            return RefusedError(f"no known kind of record; keys found: {found}", "missing_key", known_hint(record))
        missing = ", ".join(f"`{key}`" for key in nearest.required if key not in record)
        what = f"missing {missing}; keys found: {found}"
        return RefusedError(what, "missing_key", self._way_out(record))

    def _way_out(self, record: dict[str, Any]) -> str | None:
        other = detect(record)
        if self.shape is not None:
            return "the records of one file must have one shape; split the file" if other else None
        return f"such records fit `--format {other.format}`" if other else known_hint(record)


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


def _doc(shape: Shape, record: dict[str, Any], reader: RecordReader, where: str) -> Document:
    key = shape.required[0]
    body = filled(text(record[key], key), key)
    title = " ".join(text(record.get(TITLE_KEY) or "", TITLE_KEY).split())
    if title:
        return Document("markdown", reader.source, where, text=f"# {title}\n\n{body}")
    return Document("text" if key == "text" else "markdown", reader.source, where, text=body)


def _qa(shape: Shape, record: dict[str, Any], reader: RecordReader, where: str) -> Document:
    asked, answered = shape.required
    question = filled(text(record[asked], asked), asked)
    answer = filled(text(record[answered], answered), answered)
    for key in shape.optional:
        if key in record and key in CONTEXT_KEYS:
            more = text(record[key] or "", key)
            question = f"{question}\n\n{more}" if more.strip() else question
    turns = (Turn("user", question), Turn("assistant", answer))
    return Document("qa", reader.source, where, turns=_under_system(shape, record, reader, turns))


def _chat(shape: Shape, record: dict[str, Any], reader: RecordReader, where: str) -> Document:
    turns = read_turns(record[shape.required[0]], shape.required[0], reader.seen)
    return Document("chat", reader.source, where, turns=_under_system(shape, record, reader, turns))


def _under_system(
    shape: Shape, record: dict[str, Any], reader: RecordReader, turns: tuple[Turn, ...]
) -> tuple[Turn, ...]:
    """The turns, under the system text that stands beside them; what else is under its keys is not used."""
    for key in SYSTEM_KEYS:
        if key in record and key in shape.optional and (value := record[key]):
            if turns[0].role != "system" and isinstance(value, str) and value.strip():
                turns = (Turn("system", text(value, key)), *turns)
            else:
                reader.seen.unused_keys.add(key)
    return turns


_BUILDERS = {"doc": _doc, "qa": _qa, "chat": _chat}
