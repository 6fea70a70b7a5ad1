"""A conversation with a model, which fits into the context and can be saved."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nima_cli.config.record_keys import MESSAGE_KEYS
from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.document import Turn, with_line_feeds
from nima_cli.engine.data.ingest.records.conversations import read_messages
from nima_cli.engine.data.tokenizer.chat_format import turn_ids
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.errors import InputError, NimaError
from nima_cli.files import explain, write_text


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is given for its next answer.

    Attributes:
        ids: from the boundary symbol to where the assistant begins to speak.
        n_keep: how many of the first ids, boundary and system text, stay if the answer overflows the context.
        turns: how many earlier turns fit.
        cut: how many of the question's first tokens did not fit.
    """

    ids: list[int]
    n_keep: int
    turns: int
    cut: int


class Conversation:
    """The turns so far, in pairs of question and answer, the system text before them, and the `last` prompt."""

    def __init__(self, generator: TextGenerator, *, system: str = "", in_turns: bool = True) -> None:
        """Begin a conversation.

        Args:
            in_turns: whether the model learnt from conversations; others continue what is said as a text.

        Raises:
            InputError: the system text is too long, or not valid Unicode.
        """
        self.generator = generator
        self.in_turns = in_turns
        self.turns: list[Turn] = []
        self.last: Prompt | None = None
        self.set_system(system)

    @property
    def context_length(self) -> int:
        """How many tokens the model sees at once."""
        return self.generator.generator.context_length

    def set_system(self, text: str) -> None:
        """Change the system text; if it is too long for the context, raise InputError and keep the old one."""
        head = self._head(text)
        most = 3 * self.context_length // 8
        if text and len(head) > most:
            raise InputError(
                f"the system text takes {len(head)} of the {self.context_length} tokens of context",
                hint=f"shorten it to {most} tokens",
            )
        self.system = text

    def prefill(self) -> None:
        """Compute what every prompt begins with, so that the first answer comes at once."""
        self.generator.generator.prefill(self._head(self.system))

    def ask(
        self, question: str, *, sampling: SamplingParams, max_new_tokens: int, seed: int, stop: tuple[str, ...] = ()
    ) -> Iterator[str]:
        """Stream the answer to `question`.

        Both turns and `last` change at once. The answer is what was streamed until the stream ends or is closed.

        Raises:
            InputError: the question is not valid Unicode; the conversation is then as before.
        """
        self.last = prompt = self.prompt(question, max_new_tokens)
        self.turns += [Turn("user", question), Turn("assistant", "")]
        pieces = self.generator.stream(
            prompt.ids,
            sampling=sampling,
            max_new_tokens=max_new_tokens,
            seed=seed,
            stop=stop,
            n_keep=prompt.n_keep,
            reuse_prefix=True,
        )
        return self._recorded(pieces)

    def prompt(self, question: str, max_new_tokens: int) -> Prompt:
        """The prompt for a question: the newest whole exchanges that fit beside the system text and an answer.

        Of a question that is too long, the end is kept. InputError if it is not valid Unicode.
        """
        head = self._head(self.system)
        tail = [self.generator.tokenizer.role_ids["assistant"]] if self.in_turns else []
        room = self.context_length - min(max_new_tokens, self.context_length // 2) - len(head) - len(tail)
        body, cut = self._end_of(self._ids(Turn("user", question)), room)
        used, kept = len(body), 0
        for index in range(len(self.turns) - 2, -1, -2):
            exchange = self._ids(self.turns[index]) + self._ids(self.turns[index + 1])
            used += len(exchange)
            if used > room:
                break
            body, kept = exchange + body, kept + 2
        return Prompt(head + body + tail, len(head), kept, cut)

    def undo(self) -> str | None:
        """Remove the last question and its answer; returns the question, or None at the beginning."""
        if not self.turns:
            return None
        question = self.turns[-2].content
        del self.turns[-2:]
        return question

    def reset(self) -> None:
        """Forget every turn but keep the system text."""
        self.turns.clear()
        self.last = None

    def save(self, path: Path) -> None:
        """Write the conversation as JSON that data can be prepared from.

        Raises:
            InputError: the file exists and is not a saved conversation.
            ResourceError: the file cannot be written.
        """
        if path.is_file() and path.stat().st_size:
            try:
                _read(path)
            except NimaError as error:
                what = f"{path}: exists and is not a saved conversation"
                raise InputError(what, hint="choose another name, or remove it") from error
        said = [Turn("system", self.system), *self.turns] if self.system else self.turns
        messages = [{"role": turn.role, "content": turn.content} for turn in said]
        write_text(path, json.dumps([{"messages": messages}], indent=2, ensure_ascii=False) + "\n")

    def load(self, path: Path) -> None:
        """Go on from a saved conversation; if that fails, this one is as before.

        Raises:
            InputError: the file is not a saved conversation, or its system text is too long.
            ResourceError: the file cannot be read.
        """
        turns = _read(path)
        has_system = bool(turns) and turns[0].role == "system"
        self.set_system(turns[0].content if has_system else "")
        self.turns, self.last = turns[has_system:], None

    def _recorded(self, pieces: Iterator[str]) -> Iterator[str]:
        """Pass the answer on; what was passed on is the last turn."""
        answer = ""
        try:
            for piece in pieces:
                answer += piece
                yield piece
        finally:
            self.turns[-1] = Turn("assistant", answer)

    def _head(self, system: str) -> list[int]:
        """The ids that every prompt begins with."""
        return [self.generator.tokenizer.bos_id, *(self._ids(Turn("system", system)) if system else [])]

    def _end_of(self, asked: list[int], room: int) -> tuple[list[int], int]:
        """Shorten a question to `room` ids or one token of content; also returns how many tokens were cut."""
        frame = 1 if self.in_turns else 0  # symbols before and after the content
        content = asked[frame : len(asked) - frame]
        cut = max(0, min(len(asked) - room, len(content) - 1))
        return [*asked[:frame], *content[cut:], *asked[len(asked) - frame :]], cut

    def _ids(self, turn: Turn) -> list[int]:
        """One turn between its symbols, as in training, or a text whose answers end paragraphs."""
        tokenizer = self.generator.tokenizer
        text = with_line_feeds(turn.content)
        if self.in_turns:
            return turn_ids(Turn(turn.role, text), tokenizer)
        return tokenizer.encode(text) + tokenizer.encode("" if turn.role == "user" else "\n\n")


def _read(path: Path) -> list[Turn]:
    """Read the turns of the first conversation in a file: the system's, if any, then pairs of user and assistant."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise explain(error, path, "read") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    first = value[0] if isinstance(value, list) and value else value
    key = next((one for one in MESSAGE_KEYS if isinstance(first, dict) and one in first), None)
    if key is None:
        raise InputError(f"{path}: expected a list with one object that has `messages`")
    try:
        turns = read_messages(first[key], key)
    except UnusableError as error:
        raise InputError(f"{path}: {error.what}", hint=error.hint) from error
    spoken = [turn.role for turn in turns]
    if spoken[:1] == ["system"]:
        del spoken[0]
    if len(spoken) % 2 or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise InputError(f"{path}: questions and answers must take turns, ending with an answer")
    return turns
