"""Which keys of an unknown record probably mean which of ours, as the setting to try; decides nothing by itself."""

import re
from collections.abc import Iterator
from typing import Any

from nima_cli.config.record_keys import ANSWER_KEYS, MESSAGE_KEYS, QUESTION_KEYS, TEXT_KEYS, TITLE_KEY
from nima_cli.config.strict_yaml import inline
from nima_cli.engine.data.diagnostics import printable

_KNOWN = "known are `question` and `answer`, `messages`, `title` and `content`, or `text`"
# Other words for our keys, without their capitals and marks.
_MEANINGS = {
    "question": ("q", "ques", "questiontext", "problem", "user", "human", "ask", "userprompt", "usermessage",
                 *QUESTION_KEYS),
    "answer": ("a", "ans", "answertext", "reply", "solution", "target", "assistant", "bot", "gpt", "assistantmessage",
               "bestanswer", *ANSWER_KEYS),
    "messages": ("dialog", "dialogue", "dialogs", "chat", "turns", "history", *MESSAGE_KEYS),
    "content": ("contents", "article", "document", "passage", "description", "markdown", "abstract", "summary",
                "pagecontent", *TEXT_KEYS),
    "title": ("heading", "headline", "subject", TITLE_KEY),
}  # fmt: skip
_MEANS = {re.sub(r"[\W_]", "", word): ours for ours, words in _MEANINGS.items() for word in words}


def known_hint(record: dict[str, Any]) -> str:
    """What to do about a record of no known shape: the mapping that its keys suggest, or what is known."""
    guessed = _guess(record)
    if guessed:
        # As a list, so that what would end an item of a mapping is quoted.
        mapping = ", ".join(f"{ours}: {inline([key])[1:-1]}" for ours, key in guessed.items())
        return f"map its keys: `data.fields: {{{mapping}}}`"
    return f"{_KNOWN}; other keys can be mapped, as in `data.fields: {{question: KEY, answer: KEY}}`"


def preference_hint(record: dict[str, Any]) -> str:
    """How to learn what is preferred alone."""
    if isinstance(record["chosen"], list):
        key = "messages"
    else:
        key = "answer" if record.keys() & set(QUESTION_KEYS) else "text"
    return f"nima does not learn preferences; to learn what was chosen alone: `data.fields: {{{key}: chosen}}`"


def _guess(record: dict[str, Any]) -> dict[str, str]:
    """Our keys -> keys of the record, when together they make a known shape; nothing otherwise."""
    found: dict[str, str] = {}
    for words, key, value in _named(record):
        ours = _MEANS.get(words)
        if ours and isinstance(value, list if ours == "messages" else str):
            found.setdefault(ours, key)
    for shape in (("messages",), ("question", "answer"), ("title", "content"), ("content",)):
        if found.keys() >= set(shape):
            return {ours: found[ours] for ours in shape if found[ours] != ours}
    return {}


def _named(record: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(word to look up, key as a setting names it, value) of the record and of the objects in it."""
    for key, value in record.items():
        yield _word(key), printable(key), value
    for key, value in record.items():
        for inner, deep in value.items() if isinstance(value, dict) else ():
            yield _word(inner), printable(f"{key}.{inner}"), deep


def _word(key: str) -> str:
    return re.sub(r"[\W_]", "", key).lower()
