"""A conversation with a model, which fits into the context and can be saved."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nima_cli.config.record_keys import MESSAGE_KEYS
from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.document import Turn, with_line_feeds
from nima_cli.engine.data.ingest.records.conversations import read_messages
from nima_cli.engine.data.tokenizer.protocol import question_frame
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.errors import InputError, NimaError
from nima_cli.files import explain, write_text


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is given for its next answer.

    Attributes:
        ids: from the beginning of the conversation to where the assistant begins to speak.
        n_keep: how many of the first ids, with the system text, stay if the answer overflows the context.
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
        before, after = self._framed(text)
        n_keep = self._kept_of(before)
        most = 3 * self.context_length // 8
        if text and n_keep > most:
            raise InputError(
                f"the system text takes {n_keep} of the {self.context_length} tokens of context",
                hint=f"shorten it to {most} tokens",
            )
        self.system, self._before, self._after, self._n_keep = text, before, after, n_keep

    def prefill(self) -> None:
        """Compute what every prompt begins with, so that the first answer comes at once."""
        if 0 < self._n_keep <= self.context_length:
            self.generator.generator.prefill(self._before[: self._n_keep])

    def ask(
        self, question: str, *, sampling: SamplingParams, max_new_tokens: int, seed: int, stop: tuple[str, ...] = ()
    ) -> Iterator[str]:
        """Stream the answer to `question`.

        Both turns and `last` change at once. The answer is what was streamed until the stream ends or is closed.

        Raises:
            InputError: the question is not valid Unicode, or the chat format refuses the turns; the conversation is
                then as before.
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
        room = self.context_length - min(max_new_tokens, self.context_length // 2)
        kept = self._exchanges_within(room, question)
        ids = self._ids(kept, question)
        start = len(self._before)
        content = len(ids) - start - len(self._after)
        cut = max(0, min(len(ids) - room, content - 1))
        return Prompt(ids[:start] + ids[start + cut :], self._n_keep, 2 * kept, cut)

    def _exchanges_within(self, room: int, question: str) -> int:
        """How many of the newest exchanges fit before a question."""
        most = len(self.turns) // 2
        low, high = 0, 1  # `low` fit, and `high` may not
        while high <= most and len(self._ids(high, question)) <= room:
            low, high = high, 2 * high
        high = min(high, most + 1)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if len(self._ids(middle, question)) <= room else (low, middle)
        return low

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
        # The template of a pretrained model may have white space of its own before an answer.
        trimmed, answer = self.in_turns and not self.generator.tokenizer.lossless, ""
        try:
            for each in pieces:
                piece = each if answer or not trimmed else each.lstrip()
                answer += piece
                if piece:
                    yield piece
        finally:
            self.turns[-1] = Turn("assistant", answer)

    def _ids(self, exchanges: int, question: str) -> list[int]:
        """The prompt for a question after so many of the newest exchanges."""
        said = self.turns[len(self.turns) - 2 * exchanges :]
        turns = [Turn(one.role, with_line_feeds(one.content)) for one in (*said, Turn("user", question))]
        if not self.in_turns:
            return [*self._before, *(token for turn in turns for token in self._as_text(turn))]
        head = [Turn("system", with_line_feeds(self.system))] if self.system else []
        return self.generator.tokenizer.chat.prompt([*head, *turns])

    def _framed(self, system: str) -> tuple[list[int], list[int]]:
        """The ids before and after a first question."""
        tokenizer, text = self.generator.tokenizer, with_line_feeds(system)
        if self.in_turns:
            return question_frame(tokenizer.chat, text)
        return [tokenizer.bos_id, *(self._as_text(Turn("system", text)) if text else [])], []

    def _kept_of(self, before: list[int]) -> int:
        """How many of the ids before a question are no special symbol that opens the user's turn."""
        opened = self.in_turns and bool(before) and before[-1] in self.generator.tokenizer.special_ids
        return len(before) - opened

    def _as_text(self, turn: Turn) -> list[int]:
        """A turn for a model that continues texts, whose answers end paragraphs."""
        encode = self.generator.tokenizer.encode
        return encode(turn.content) + encode("" if turn.role == "user" else "\n\n")


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
