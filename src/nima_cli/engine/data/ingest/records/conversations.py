"""The messages of a record, in the field's spellings, to turns of our three roles; knows no other part of a record.

Tools have no role of their own. As in the chat templates of Hermes and Qwen2.5, a call is text of the assistant between
`<tool_call>` and `</tool_call>`, and what the tools answer is a user's turn, each answer between `<tool_response>` and
`</tool_response>`.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from nima_cli.engine.data.diagnostics import printable
from nima_cli.engine.data.document import TOOL_RESPONSE, Role, Turn
from nima_cli.engine.data.ingest.records import strict_json
from nima_cli.engine.data.ingest.records.record_values import RefusedError, Seen, filled, text, type_name
from nima_cli.engine.data.ingest.records.strict_json import JsonError

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
# Beside the role and the text; calls are tied to their answers by their order alone.
_USED_KEYS = {"role", "from", *_TEXT_KEYS, "weight", "tool_calls", "function_call", "tool_call_id"}
_TEXT_PARTS = ("text", "input_text", "output_text")
_ORDER = "a conversation is `system` (at most one, first), then `user` and `assistant` in turn"


class _Message(NamedTuple):
    """One message as a turn.

    Attributes:
        place: its text, for messages.
        tool: whether it is what tools answered.
    """

    turn: Turn
    place: str
    tool: bool


def read_turns(messages: Any, key: str, seen: Seen) -> tuple[Turn, ...]:
    """The turns of a whole conversation: in order, each with text.

    Args:
        key: of the messages in their record.
        seen: what is not used is added to it.

    Raises:
        RefusedError: a message or their order cannot be used.
    """
    read = _read(messages, key, seen)
    if not read:
        raise RefusedError(f"`{key}` is an empty list", "no_turns")
    # An empty system line says nothing; many datasets carry one in every record.
    if read[0].turn.role == "system" and not read[0].turn.content.strip():
        del read[0]
    _check_order(read, key)
    for message in read:
        filled(message.turn.content, message.place)
    return tuple(message.turn for message in read)


def read_messages(messages: Any, key: str) -> list[Turn]:
    """The turns of messages in any order, also empty ones.

    Raises:
        RefusedError: a message cannot be used.
    """
    return [message.turn for message in _read(messages, key, Seen())]


def _read(messages: Any, key: str, seen: Seen) -> list[_Message]:
    if not isinstance(messages, list):
        raise RefusedError(f"`{key}` is {type_name(messages)}, expected a list", "wrong_type")
    read: list[_Message] = []
    for index, value in enumerate(messages):
        message = _plain(value, key, index) or _message(value, key, f"{key}[{index}]", seen)
        if message.tool and read and read[-1].tool:
            before, after = read[-1].turn, message.turn
            both = Turn("user", f"{before.content}\n{after.content}", min(before.weight, after.weight))
            read[-1] = message._replace(turn=both)
        else:
            read.append(message)
    return read


def _plain(message: Any, key: str, index: int) -> _Message | None:
    """What `_message` gives for nearly all messages, sooner: those that have a role and a text, and no tools."""
    if type(message) is not dict or len(message) != 2:
        return None
    role_key, text_key = ("role", "content") if "role" in message else ("from", "value")
    role, said = message.get(role_key), message.get(text_key)
    speaker = ROLES.get(role) if type(role) is str else None
    if type(said) is not str or speaker is None or speaker == "tool" or speaker == "call":
        return None
    place = f"{key}[{index}].{text_key}"
    return _Message(Turn(speaker, text(said, place)), place, tool=False)


def _message(message: Any, key: str, place: str, seen: Seen) -> _Message:
    if not isinstance(message, dict):
        raise RefusedError(f"`{place}` is {type_name(message)}, expected an object", "wrong_type")
    role_key = "role" if "role" in message or "from" not in message else "from"
    text_key = next((one for one in _TEXT_KEYS if one in message), "content" if role_key == "role" else "value")
    if role_key not in message:
        raise _without(role_key, message, place)
    speaker = _speaker(text(message[role_key], f"{place}.{role_key}"), f"{place}.{role_key}")
    calls = "\n".join(_calls(message, place)) if speaker == "assistant" else ""
    if text_key not in message and not calls:
        raise _without(text_key, message, place)
    said_at, value = f"{place}.{text_key}", message.get(text_key)
    said = "" if value is None and calls else _content(value, said_at, seen)
    seen.unused_keys.update(f"{key}[].{name}" for name in message if name not in _USED_KEYS)
    weight = _weight(message.get("weight"), place)
    if speaker == "tool":
        wrapped = said if said.lstrip().startswith(TOOL_RESPONSE) else f"{TOOL_RESPONSE}\n{said}\n</tool_response>"
        return _Message(Turn("user", wrapped, weight), said_at, tool=True)
    if speaker == "call":
        return _Message(Turn("assistant", _written_call(said, said_at), weight), said_at, tool=False)
    content = f"{said}\n{calls}" if said.strip() and calls else calls or said
    return _Message(Turn(speaker, content, weight), said_at, tool=False)


def _without(missing: str, message: dict[str, Any], place: str) -> RefusedError:
    found = ", ".join(f"`{printable(name)}`" for name in message) or "none"
    return RefusedError(f"`{place}` has no `{missing}`; keys found: {found}", "missing_key")


def _speaker(role: str, place: str) -> _Speaker:
    speaker = ROLES.get(role)
    if speaker is None:
        allowed = ", ".join(f"`{name}`" for name in ROLES)
        raise RefusedError(f"`{place}` is `{printable(role)}`, expected one of {allowed}", "unknown_role")
    return speaker


def _weight(value: Any, place: str) -> int:
    """1 or 0, as OpenAI's format for fine-tuning has it; absent or null is 1."""
    if value is None:
        return 1
    if isinstance(value, bool) or value not in (0, 1):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        found = str(value)[:40] if number else type_name(value)
        raise RefusedError(f"`{place}.weight` is {found}, expected 0 or 1", "wrong_weight")
    return int(value)


def _content(value: Any, place: str, seen: Seen) -> str:
    """Text, or the texts of parts one below the other; parts that are no text are counted."""
    if not isinstance(value, list):
        return text(value, place)
    texts: list[str] = []
    others: list[str] = []
    for index, part in enumerate(value):
        kind = part.get("type", "text") if isinstance(part, dict) else "text" if isinstance(part, str) else None
        if not isinstance(kind, str):
            raise RefusedError(f"`{place}[{index}]` is {type_name(part)}, expected a part with a `type`", "wrong_type")
        if kind in _TEXT_PARTS:
            said = part["text"] if isinstance(part, dict) and "text" in part else part
            texts.append(text(said, f"{place}[{index}]"))
        else:
            others.append(kind)
    if others and not "".join(texts).strip():
        kinds = ", ".join(f"`{printable(kind)}`" for kind in dict.fromkeys(others))
        raise RefusedError(f"`{place}` holds no text, only parts of type {kinds}", "no_text")
    seen.other_parts.update(others)
    return "\n".join(texts)


def _calls(message: dict[str, Any], place: str) -> Iterator[str]:
    """The calls of tools that an assistant's message carries; OpenAI's older format has one `function_call`."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise RefusedError(f"`{place}.tool_calls` is {type_name(calls)}, expected a list", "wrong_type")
    for index, call in enumerate(calls):
        yield _call(call, f"{place}.tool_calls[{index}]")
    if message.get("function_call") is not None:
        yield _call(message["function_call"], f"{place}.function_call")


def _call(call: Any, place: str) -> str:
    function = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RefusedError(f"`{place}` names no function: expected an object with a `name`", "wrong_call")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = _parsed(arguments) if arguments.strip() else {}
    value = {"name": function["name"], "arguments": {} if arguments is None else arguments}
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"`{place}.arguments` cannot be written as JSON", "wrong_call") from error
    return f"<tool_call>\n{text(written, place)}\n</tool_call>"


def _written_call(said: str, place: str) -> str:
    """Calls that are the text of a message: as they are if marked as calls, else JSON of one call or of a list."""
    if not said.strip() or "<tool_call>" in said:
        return said
    value = _parsed(said)
    return "\n".join(_call(call, place) for call in (value if isinstance(value, list) else [value]))


def _parsed(written: str) -> Any:
    """The value that JSON text holds; text that is no JSON as it is."""
    try:
        value, end = strict_json.decode(written, strict_json.space(written, 0))
    except JsonError:
        return written
    return value if strict_json.space(written, end) == len(written) else written


def _check_order(messages: Sequence[_Message], key: str) -> None:
    """At most one system turn, first; then user (or tools after a call) and assistant in turn, the assistant last."""
    spoken = messages[1:] if messages and messages[0].turn.role == "system" else messages
    roles = [message.turn.role for message in spoken]
    if "system" in roles:
        what = "has a system turn that is not the first"
    elif "assistant" not in roles:
        what = "has no assistant turn"
    elif roles[0] != "user":
        what = "starts with an assistant turn"
    elif spoken[0].tool or any(b.tool and a.turn.role == "user" for a, b in itertools.pairwise(spoken)):
        what = "has an answer of a tool that no assistant turn called"
    elif any(a == b for a, b in itertools.pairwise(roles)):
        what = "has two turns of one role in a row"
    elif roles[-1] != "assistant":
        what = f"ends with {'what a tool answered' if spoken[-1].tool else 'a user turn that nobody answers'}"
    else:
        return
    raise RefusedError(f"`{key}` {what}", "turn_order", _ORDER)
