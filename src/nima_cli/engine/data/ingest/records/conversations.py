"""Converts the messages of a record, in all common spellings, to turns of three roles.

Tools have no role of their own. As in the chat templates of Hermes and Qwen2.5, the assistant writes a call between
`<tool_call>` and `</tool_call>`, and the user's next turn has each answer between `<tool_response>` and
`</tool_response>`.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from nima_cli.engine.data.diagnostics import UnusableError, printable
from nima_cli.engine.data.document import TOOL_RESPONSE, Role, Turn
from nima_cli.engine.data.ingest.records import strict_json
from nima_cli.engine.data.ingest.records.strict_json import keys_found, text, type_name

_Speaker = Role | Literal["tool", "call"]
_NAMES: dict[_Speaker, tuple[str, ...]] = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "model", "bot", "chatbot", "ai"),
    "tool": ("tool", "function", "observation", "tool_response", "ipython"),
    "call": ("function_call", "tool_call"),
}
ROLES = {name: speaker for speaker, names in _NAMES.items() for name in names}
_TEXT_KEYS = ("content", "value", "text")
# Calls and their answers are matched by order, so the ids are not needed.
_USED_KEYS = {"role", "from", *_TEXT_KEYS, "weight", "tool_calls", "function_call", "tool_call_id"}
_TEXT_PARTS = ("text", "input_text", "output_text")
_ORDER = "a conversation is `system` (at most one, first), then `user` and `assistant` in turn"


@dataclass(slots=True)
class RecordNotes:
    unused_keys: set[str] = field(default_factory=set)  # those of messages as `messages[].name`
    other_parts: Counter[str] = field(default_factory=Counter)  # parts of messages that are not text, by type
    fields: set[tuple[str, str]] = field(default_factory=set)  # of the mapping, as (our key, their key)
    keys: set[str] = field(default_factory=set)  # all keys of records, if these are mapped

    def add(self, other: "RecordNotes") -> None:
        self.unused_keys |= other.unused_keys
        self.other_parts.update(other.other_parts)
        self.fields |= other.fields
        self.keys |= other.keys


class _Message(NamedTuple):
    """One message as a turn, with the place of its text for error messages."""

    turn: Turn
    place: str
    tool: bool = False


def read_turns(messages: Any, key: str, notes: RecordNotes) -> tuple[Turn, ...]:
    """Read a whole conversation, whose turns must be in order and have text; `notes` collects what is not used."""
    read = _read(messages, key, notes)
    if not read:
        raise UnusableError(f"`{key}` is an empty list", "no_turns")
    # An empty system line says nothing; many datasets carry one in every record.
    if read[0].turn.role == "system" and not read[0].turn.content.strip():
        del read[0]
    if wrong := _wrong_order(read):
        raise UnusableError(f"`{key}` {wrong}", "turn_order", hint=_ORDER)
    for message in read:
        if not message.turn.content.strip():
            raise UnusableError(f"`{message.place}` is empty", "empty")
    return tuple(message.turn for message in read)


def read_messages(messages: Any, key: str) -> list[Turn]:
    """Read messages in any order, also empty ones; raises UnusableError for one that cannot be used."""
    return [message.turn for message in _read(messages, key, RecordNotes())]


def _read(messages: Any, key: str, notes: RecordNotes) -> list[_Message]:
    if not isinstance(messages, list):
        raise UnusableError(f"`{key}` is {type_name(messages)}, expected a list", "wrong_type")
    read: list[_Message] = []
    for index, value in enumerate(messages):
        message = _message(value, key, f"{key}[{index}]", notes)
        if message.tool and read and read[-1].tool:
            before, after = read[-1].turn, message.turn
            both = Turn("user", f"{before.content}\n{after.content}", min(before.weight, after.weight))
            read[-1] = message._replace(turn=both)
        else:
            read.append(message)
    return read


def _message(message: Any, key: str, place: str, notes: RecordNotes) -> _Message:
    if not isinstance(message, dict):
        raise UnusableError(f"`{place}` is {type_name(message)}, expected an object", "wrong_type")
    role_key = "role" if "role" in message or "from" not in message else "from"
    text_key = next((one for one in _TEXT_KEYS if one in message), "content" if role_key == "role" else "value")
    text_place = f"{place}.{text_key}"
    speaker = _speaker(_required(message, role_key, place), f"{place}.{role_key}")
    calls = "\n".join(_calls(message, place)) if speaker == "assistant" else ""
    if calls and message.get(text_key) is None:
        said = ""
    else:
        said = _content(_required(message, text_key, place), text_place, notes)
    notes.unused_keys.update(f"{key}[].{name}" for name in message if name not in _USED_KEYS)
    weight = _weight(message.get("weight"), place)
    if speaker == "tool":
        wrapped = said if said.lstrip().startswith(TOOL_RESPONSE) else f"{TOOL_RESPONSE}\n{said}\n</tool_response>"
        return _Message(Turn("user", wrapped, weight), text_place, tool=True)
    if speaker == "call":
        return _Message(Turn("assistant", _written_call(said, text_place), weight), text_place)
    if calls:
        said = f"{said}\n{calls}" if said.strip() else calls
    return _Message(Turn(speaker, said, weight), text_place)


def _required(message: dict[str, Any], key: str, place: str) -> Any:
    if key not in message:
        raise UnusableError(f"`{place}` has no `{key}`; {keys_found(message)}", "missing_key")
    return message[key]


def _speaker(role: Any, place: str) -> _Speaker:
    if text(role, place) not in ROLES:
        allowed = ", ".join(f"`{name}`" for name in ROLES)
        raise UnusableError(f"`{place}` is `{printable(role)}`, expected one of {allowed}", "unknown_role")
    return ROLES[role]


def _weight(value: Any, place: str) -> int:
    """1 or 0, as in OpenAI's format for fine-tuning; 1 if absent or null."""
    if value is None:
        return 1
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or value not in (0, 1):
        found = str(value)[:40] if number else type_name(value)
        raise UnusableError(f"`{place}.weight` is {found}, expected 0 or 1", "wrong_weight")
    return int(value)


def _content(value: Any, place: str, notes: RecordNotes) -> str:
    """Text, or the texts of parts on lines of their own; other parts are counted."""
    if not isinstance(value, list):
        return text(value, place)
    texts: list[str] = []
    others: list[str] = []
    for index, part in enumerate(value):
        if isinstance(part, str):
            part = {"text": part}
        kind = part.get("type", "text") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            raise UnusableError(f"`{place}[{index}]` is {type_name(part)}, expected a part with a `type`", "wrong_type")
        if kind in _TEXT_PARTS:
            texts.append(text(part.get("text", part), f"{place}[{index}]"))
        else:
            others.append(kind)
    if others and not "".join(texts).strip():
        kinds = ", ".join(f"`{printable(kind)}`" for kind in dict.fromkeys(others))
        raise UnusableError(f"`{place}` holds no text, only parts of type {kinds}", "no_text")
    notes.other_parts.update(others)
    return "\n".join(texts)


def _calls(message: dict[str, Any], place: str) -> Iterator[str]:
    """The tool calls in an assistant's message; OpenAI's older format has one `function_call`."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise UnusableError(f"`{place}.tool_calls` is {type_name(calls)}, expected a list", "wrong_type")
    for index, call in enumerate(calls):
        yield _call(call, f"{place}.tool_calls[{index}]")
    if message.get("function_call") is not None:
        yield _call(message["function_call"], f"{place}.function_call")


def _call(call: Any, place: str) -> str:
    function = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise UnusableError(f"`{place}` names no function: expected an object with a `name`", "wrong_call")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = _parsed(arguments) if arguments.strip() else {}
    value = {"name": function["name"], "arguments": {} if arguments is None else arguments}
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"`{place}.arguments` cannot be written as JSON", "wrong_call") from error
    return f"<tool_call>\n{text(written, place)}\n</tool_call>"


def _written_call(said: str, place: str) -> str:
    """Calls in the text of a message: unchanged if marked as calls, else read as JSON of one call or a list."""
    if not said.strip() or "<tool_call>" in said:
        return said
    value = _parsed(said)
    return "\n".join(_call(call, place) for call in (value if isinstance(value, list) else [value]))


def _parsed(written: str) -> Any:
    """The value of JSON text; any other text unchanged."""
    try:
        return strict_json.loads(written)
    except strict_json.JsonError:
        return written


def _wrong_order(messages: Sequence[_Message]) -> str | None:
    """What breaks the order: system may come first, then user (or tools after a call) and assistant alternate."""
    spoken = messages[1:] if messages and messages[0].turn.role == "system" else messages
    roles = [message.turn.role for message in spoken]
    if "system" in roles:
        return "has a system turn that is not the first"
    if "assistant" not in roles:
        return "has no assistant turn"
    if roles[0] != "user":
        return "starts with an assistant turn"
    if spoken[0].tool or any(b.tool and a.turn.role == "user" for a, b in pairwise(spoken)):
        return "has an answer of a tool that no assistant turn called"
    if any(a == b for a, b in pairwise(roles)):
        return "has two turns of one role in a row"
    if roles[-1] != "assistant":
        return f"ends with {'what a tool answered' if spoken[-1].tool else 'a user turn that nobody answers'}"
    return None
