"""A conversation and its budget: which turns fit the context, and the model's next answer; knows no terminal."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.render import chat_prompt
from nima_cli.engine.inference.sampling import Sampling
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.errors import InputError
from nima_cli.files import explain, write_text


class Conversation:
    """Turns so far, the system text that never leaves, and the generator whose cache spans them."""

    def __init__(self, generator: TextGenerator, *, system: str = "") -> None:
        self.generator = generator
        self.system = system
        self.turns: list[Turn] = []

    def ask(
        self, question: str, *, sampling: Sampling, max_new_tokens: int, seed: int, stop: tuple[str, ...] = ()
    ) -> Iterator[str]:
        """Stream the answer to `question`; when the stream ends or is closed, both turns are part of the conversation.

        An answer that is stopped midway stays as far as it got.

        Raises:
            InputError: the question is not valid Unicode; the conversation is then as before.
        """
        self.turns.append(Turn("user", question))
        pieces: list[str] = []
        try:
            ids = self.prompt_ids(max_new_tokens)
        except InputError:  # a question that cannot be encoded was never asked
            self.turns.pop()
            raise
        try:
            for piece in self.generator.stream(
                ids, sampling=sampling, max_new_tokens=max_new_tokens, seed=seed, stop=stop
            ):
                pieces.append(piece)
                yield piece
        finally:
            self.turns.append(Turn("assistant", "".join(pieces)))

    def prompt_ids(self, max_new_tokens: int) -> list[int]:
        """The ids to answer from."""
        first = self.first_kept(max_new_tokens)
        return chat_prompt(self._with_system(self.turns[first:]), self.generator.tokenizer)

    def first_kept(self, max_new_tokens: int) -> int:
        """Index of the oldest turn that still fits: whole oldest exchanges leave first, the system text never."""
        context = self.generator.generator.context_length
        budget = context - min(max_new_tokens, context // 2)
        first = 0
        while first < len(self.turns) - 1:
            ids = chat_prompt(self._with_system(self.turns[first:]), self.generator.tokenizer)
            if len(ids) <= budget:
                break
            first += 2  # a question and its answer
        return min(first, len(self.turns) - 1) if self.turns else 0

    def tokens_used(self) -> int:
        """Tokens that the whole conversation would take."""
        return len(chat_prompt(self._with_system(self.turns), self.generator.tokenizer))

    def undo(self) -> str | None:
        """Take back the last question and its answer; returns the question, or None when there is none."""
        if not self.turns:
            return None
        question = self.turns[-2].content
        del self.turns[-2:]
        return question

    def reset(self) -> None:
        """Forget every turn; the system text stays."""
        self.turns.clear()

    def save(self, path: Path) -> None:
        """Write the conversation as the JSON that `nima data prepare` reads.

        Raises:
            ResourceError: the file cannot be written.
        """
        messages = [{"role": turn.role, "content": turn.content} for turn in self._with_system(self.turns)]
        write_text(path, json.dumps([{"messages": messages}], indent=2, ensure_ascii=False) + "\n")

    def load(self, path: Path) -> None:
        """Go on from a saved conversation.

        Raises:
            InputError: not such a file; the conversation is then as before.
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
        system = [turn.content for turn in turns if turn.role == "system"]
        self.turns = [turn for turn in turns if turn.role != "system"]
        self.system = system[0] if system else ""

    def _with_system(self, turns: list[Turn]) -> list[Turn]:
        return [Turn("system", self.system), *turns] if self.system else list(turns)


def _read_turns(value: Any, path: Path) -> list[Turn]:
    """Messages of the first conversation in a file: optional system, then pairs of user and assistant."""
    first = value[0] if isinstance(value, list) and value else value
    messages = first.get("messages") if isinstance(first, dict) else None
    if not isinstance(messages, list):
        raise InputError(f"{path}: expected a list with one object that has `messages`")
    turns = []
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise InputError(f"{path}: message {index + 1} needs `role` (system, user, assistant) and text `content`")
        if re.search("[\ud800-\udfff]", content):
            raise InputError(f"{path}: message {index + 1} holds a lone surrogate, which is no character")
        turns.append(Turn(role, content))
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if len(spoken) % 2 or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise InputError(f"{path}: questions and answers must take turns, ending with an answer")
    return turns
