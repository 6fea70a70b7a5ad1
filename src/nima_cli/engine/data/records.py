"""Record shapes of JSON and JSON Lines (qa, chat, doc and their usual other names) to documents; knows no files."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nima_cli.engine.data.document import Document, Role, Turn
from nima_cli.engine.data.problems import Problem, printable


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to write a record: the keys that must be there, and those that may be."""

    format: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


# In the order in which they are tried; a record with both `text` and `content` is taken for its `content`.
SHAPES = (
    Shape("chat", ("messages",)),
    Shape("chat", ("conversations",)),
    Shape("qa", ("question", "answer")),
    Shape("qa", ("instruction", "output"), ("input",)),
    Shape("qa", ("prompt", "completion")),
    Shape("doc", ("content",), ("title",)),
    Shape("doc", ("text",), ("title",)),
)
ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
SHAREGPT_ROLES: dict[str, Role] = {"system": "system", "human": "user", "gpt": "assistant"}
KNOWN = "`question` and `answer`, `messages`, `title` and `content`, or `text`"


class _RefusedError(Exception):
    def __init__(self, what: str, reason: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what, self.reason, self.hint = what, reason, hint


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
        extra_keys: keys seen and not used.
        shape: of the records, once one has fitted.
    """

    format: str
    source: int
    extra_keys: set[str] = field(default_factory=set)
    shape: Shape | None = None

    def convert(self, value: Any, where: str) -> Document | Problem:
        """One decoded JSON value to a document, or to what is wrong with it (`empty`: nothing to learn)."""
        try:
            if not isinstance(value, dict):
                raise _RefusedError(f"expected a record (an object), found {_type(value)}", "not_a_record")
            shape = self._choose(value)
            self.extra_keys.update(value.keys() - set(shape.required) - set(shape.optional))
            return _BUILDERS[shape.format](shape, value, self.source, where)
        except _RefusedError as error:
            return Problem(where, error.what, error.reason, error.hint)

    def _choose(self, record: dict[str, Any]) -> Shape:
        candidates = [self.shape] if self.shape else [s for s in SHAPES if self.format in ("auto", s.format)]
        for shape in candidates:
            if record.keys() >= set(shape.required):
                self.shape = shape
                return shape
        raise self._no_fit(record, candidates)

    def _no_fit(self, record: dict[str, Any], candidates: list[Shape]) -> _RefusedError:
        found = ", ".join(f"`{printable(key)}`" for key in record) or "none"
        nearest = max(candidates, key=lambda shape: len(record.keys() & set(shape.required)))
        if self.format == "auto" and self.shape is None and not record.keys() & set(nearest.required):
            return _RefusedError(f"no known kind of record; keys found: {found}", "missing_key", f"known are {KNOWN}")
        missing = ", ".join(f"`{key}`" for key in nearest.required if key not in record)
        other = detect(record)
        hint = None
        if other is not None:
            same = "the records of one file must have one shape; split the file"
            hint = f"such records fit `--format {other.format}`" if self.shape is None else same
        return _RefusedError(f"missing {missing}; keys found: {found}", "missing_key", hint)


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number", type(None): "null"}
    return names[type(value)]


def _text(value: Any, key: str) -> str:
    if isinstance(value, list):
        parts = all(isinstance(part, dict) for part in value)
        hint = "join the text of the parts into one string" if parts else None
        raise _RefusedError(f"`{key}` is a list{' of parts' if parts else ''}, expected text", "wrong_type", hint)
    if not isinstance(value, str):
        raise _RefusedError(f"`{key}` is {_type(value)}, expected text", "wrong_type")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise _RefusedError(f"`{key}` holds half a character (`\\u{code:04x}` alone)", "surrogate") from error
    return value


def _filled(value: str, key: str) -> str:
    if not value.strip():
        raise _RefusedError(f"`{key}` is empty", "empty")
    return value


def _doc(shape: Shape, record: dict[str, Any], source: int, where: str) -> Document:
    key = shape.required[0]
    body = _filled(_text(record[key], key), key)
    title = " ".join(_text(record.get("title") or "", "title").split())
    if title:
        return Document("markdown", source, where, text=f"# {title}\n\n{body}")
    return Document("text" if key == "text" else "markdown", source, where, text=body)


def _qa(shape: Shape, record: dict[str, Any], source: int, where: str) -> Document:
    asked, answered = shape.required
    question = _filled(_text(record[asked], asked), asked)
    answer = _filled(_text(record[answered], answered), answered)
    for key in shape.optional:
        more = _text(record.get(key) or "", key)
        question = f"{question}\n\n{more}" if more.strip() else question
    return Document("qa", source, where, turns=(Turn("user", question), Turn("assistant", answer)))


def _chat(shape: Shape, record: dict[str, Any], source: int, where: str) -> Document:
    key = shape.required[0]
    names = ("role", "content", ROLES) if key == "messages" else ("from", "value", SHAREGPT_ROLES)
    messages = record[key]
    if not isinstance(messages, list):
        raise _RefusedError(f"`{key}` is {_type(messages)}, expected a list", "wrong_type")
    if not messages:
        raise _RefusedError(f"`{key}` is an empty list", "no_turns")
    turns = [_turn(message, f"{key}[{index}]", *names) for index, message in enumerate(messages)]
    # An empty system line says nothing; many datasets carry one in every record.
    if turns[0].role == "system" and not turns[0].content.strip():
        del turns[0]
    _check_order(turns, key)
    for index, turn in enumerate(turns):
        _filled(turn.content, f"{key}[{index + len(messages) - len(turns)}].{names[1]}")
    return Document("chat", source, where, turns=tuple(turns))


def _turn(message: Any, place: str, role_key: str, text_key: str, roles: dict[str, Role]) -> Turn:
    if not isinstance(message, dict):
        raise _RefusedError(f"`{place}` is {_type(message)}, expected an object", "wrong_type")
    for key in (role_key, text_key):
        if key not in message:
            found = ", ".join(f"`{printable(name)}`" for name in message) or "none"
            raise _RefusedError(f"`{place}` has no `{key}`; keys found: {found}", "missing_key")
    role = _text(message[role_key], f"{place}.{role_key}")
    if role not in roles:
        allowed = ", ".join(f"`{name}`" for name in roles)
        raise _RefusedError(f"`{place}.{role_key}` is `{printable(role)}`, expected one of {allowed}", "unknown_role")
    return Turn(roles[role], _text(message[text_key], f"{place}.{text_key}"))


def _check_order(turns: list[Turn], key: str) -> None:
    """At most one system turn, first; then user and assistant in turn, the assistant last."""
    roles = [turn.role for turn in turns]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if "system" in spoken:
        what = "has a system turn that is not the first"
    elif "assistant" not in spoken:
        what = "has no assistant turn"
    elif spoken[0] != "user":
        what = "starts with an assistant turn"
    elif any(a == b for a, b in itertools.pairwise(spoken)):
        what = "has two turns of one role in a row"
    elif spoken[-1] != "assistant":
        what = "ends with a user turn that nobody answers"
    else:
        return
    hint = "a conversation is `system` (at most one, first), then `user` and `assistant` in turn"
    raise _RefusedError(f"`{key}` {what}", "turn_order", hint)


_BUILDERS = {"doc": _doc, "qa": _qa, "chat": _chat}
