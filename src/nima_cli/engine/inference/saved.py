"""A conversation as a file: the JSON that `nima data prepare` reads; knows no model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nima_cli.config.record_keys import MESSAGE_KEYS
from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.ingest.records.conversations import read_messages
from nima_cli.errors import InputError, NimaError
from nima_cli.files import explain, write_text


def write_conversation(path: Path, system: str, turns: Sequence[Turn]) -> None:
    """Write one conversation, in place of an earlier one of that name.

    Raises:
        InputError: the file exists and holds something else.
        ResourceError: the file cannot be written.
    """
    if path.is_file() and path.stat().st_size:
        try:
            read_conversation(path)
        except NimaError as error:
            raise InputError(
                f"{path}: exists and is not a saved conversation", hint="choose another name, or remove it"
            ) from error
    said = [Turn("system", system), *turns] if system else turns
    messages = [{"role": turn.role, "content": turn.content} for turn in said]
    write_text(path, json.dumps([{"messages": messages}], indent=2, ensure_ascii=False) + "\n")


def read_conversation(path: Path) -> tuple[str, list[Turn]]:
    """The system text and the turns of the first conversation in a file.

    Raises:
        InputError: not such a file; says what is wrong with it.
        ResourceError: it cannot be read.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise explain(error, path, "read") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    turns = _read_turns(value, path)
    if turns and turns[0].role == "system":
        return turns[0].content, turns[1:]
    return "", turns


def _read_turns(value: Any, path: Path) -> list[Turn]:
    """Messages of the first conversation: optional system text, then pairs of user and assistant."""
    first = value[0] if isinstance(value, list) and value else value
    key = next((one for one in MESSAGE_KEYS if isinstance(first, dict) and one in first), None)
    if key is None:
        raise InputError(f"{path}: expected a list with one object that has `messages`")
    try:
        turns = read_messages(first[key], key)
    except UnusableError as error:
        raise InputError(f"{path}: {error.what}", hint=error.hint) from error
    spoken = [turn.role for turn in turns[1 if turns and turns[0].role == "system" else 0 :]]
    if len(spoken) % 2 or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise InputError(f"{path}: questions and answers must take turns, ending with an answer")
    return turns
