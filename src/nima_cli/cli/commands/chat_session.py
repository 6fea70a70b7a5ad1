"""The commands of a chat."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nima_cli.errors import InputError
from nima_cli.ui import formatting
from nima_cli.ui.console import command, say

if TYPE_CHECKING:
    from nima_cli.engine.inference.conversation import Conversation
    from nima_cli.engine.inference.sampling import SamplingParams

OPTIONS = {
    "temperature": float, "top_k": int, "top_p": float, "min_p": float, "repetition_penalty": float,
    "max_new_tokens": int, "seed": int,
}  # fmt: skip
# What the argument of a command may begin with; None stands for the name of a file.
ARGUMENTS = {"/set": tuple(f"{name}=" for name in OPTIONS), "/save": None, "/save!": None, "/load": None}


@dataclasses.dataclass
class ChatSession:
    """A conversation and how its answers are drawn."""

    conversation: "Conversation"
    sampling: "SamplingParams"
    max_new_tokens: int
    seed: int
    stop: tuple[str, ...]
    _told: bool = False
    _speed: str = ""
    _file: Path | None = None

    def commands(self) -> Mapping[str, Callable[[str], str | Iterator[str] | None]]:
        """Name with its slash -> what it does with the rest of the line."""
        methods = (self.reset, self.retry, self.undo, self.system, self.set, self.stats, self.save, self.load)
        return {f"/{method.__name__}": method for method in methods} | {"/save!": self.replace}

    def answer(self, message: str) -> Iterator[str]:
        """The pieces of the answer; says what does not fit the context, of old turns only the first time."""
        earlier = len(self.conversation.turns)
        pieces = self.conversation.ask(
            message,
            sampling=self.sampling,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed + earlier,
            stop=self.stop,
        )
        sent = self.conversation.last
        assert sent is not None, "it has just been made"
        if sent.cut:
            say(f"the message is longer than the context: its first {sent.cut} tokens are left out", "warning")
        if sent.turns < earlier and not self._told:
            self._told = True
            say("the conversation is longer than the context: from now on its oldest turns are left out")
        return self._timed(pieces)

    def reset(self, _: str) -> str:
        """Forget the conversation; the system text stays."""
        self.conversation.reset()
        self._told = False
        return "forgotten"

    def retry(self, _: str) -> Iterator[str]:
        """Answer the last question again, with another seed."""
        question = self.conversation.undo()
        if question is None:
            raise InputError("there is nothing to retry")
        self.seed += 1
        return self.answer(question)

    def undo(self, _: str) -> str:
        """Take back the last question and its answer."""
        return "nothing to take back" if self.conversation.undo() is None else "taken back"

    def system(self, text: str) -> str:
        """Show the system text, or change it: /system Be brief. A lone - removes it."""
        if text:
            self.conversation.set_system("" if text == "-" else text)
        return f"system: {self.conversation.system or '(none)'}"

    def set(self, assignment: str) -> str:
        """Show the settings, or change one: /set temperature=0.5."""
        if assignment:
            name, separator, value = assignment.replace(" ", "=", 1).partition("=")
            if not separator or name not in OPTIONS:
                raise InputError(f"`{assignment}`: expected NAME=VALUE", hint=f"names: {', '.join(OPTIONS)}")
            self._change(name, value.strip())
        values = {**self.sampling.model_dump(), "max_new_tokens": self.max_new_tokens, "seed": self.seed}
        return "  ".join(f"{name}={value}" for name, value in values.items())

    def _change(self, name: str, text: str) -> None:
        from nima_cli.engine.inference.sampling import SamplingParams, check_seed

        try:
            value = OPTIONS[name](text)
        except ValueError as error:
            raise InputError(f"`{text}` is not a value for {name}") from error
        if name == "max_new_tokens":
            if value < 1:
                raise InputError("max_new_tokens must be at least 1")
            self.max_new_tokens = int(value)
        elif name == "seed":
            check_seed(int(value))
            self.seed = int(value)
        else:
            self.sampling = SamplingParams(**{**self.sampling.model_dump(), name: value})

    def stats(self, _: str) -> str:
        """Show how full the context is and how fast the last answer came."""
        prompt = self.conversation.prompt("", self.max_new_tokens)
        turns = len(self.conversation.turns)
        kept = "" if prompt.turns == turns else f"{prompt.turns} of "
        used = f"{len(prompt.ids)} of {self.conversation.context_length} tokens of context"
        return f"{used}, {kept}{formatting.many(turns, 'turn')}{self._speed}"

    def save(self, file: str) -> str:
        """Write the conversation to a new JSON file, or again to the one it was last kept in."""
        path = _path(file, "/save")
        ours = self._file is not None and self._file.exists() and path.exists() and self._file.samefile(path)
        if path.exists() and not ours:
            raise InputError(f"{path}: exists", hint=f"`/save! {file}` replaces it")
        return self.replace(file)

    def replace(self, file: str) -> str:
        """Write the conversation to a JSON file, in place of the one that is there."""
        path = _path(file, "/save!")
        done = "replaced" if path.exists() else "saved to"
        self.conversation.save(path)
        self._file = path
        reads = command("nima", "data", "prepare", "--output-dir", "data/mine", "--json-files", path)
        return f"{done} {path}; {reads} reads it"

    def load(self, file: str) -> str:
        """Go on from a saved conversation."""
        path = _path(file, "/load")
        self.conversation.load(path)
        self._file, self._told = path, False
        return f"{formatting.many(len(self.conversation.turns), 'turn')} loaded"

    def _timed(self, pieces: Iterator[str]) -> Iterator[str]:
        generator, start, first = self.conversation.generator.generator, time.perf_counter(), 0.0
        before = generator.decoded
        try:
            for piece in pieces:
                first = first or time.perf_counter() - start
                yield piece
        finally:  # also when the answer is stopped
            pieces.close()  # type: ignore[attr-defined]
            seconds, tokens = max(time.perf_counter() - start, 1e-9), generator.decoded - before
            self._speed = f"; last answer: {tokens} tokens, {tokens / seconds:.0f} tokens/s"
            self._speed += f", the first after {first:.2f} s" if first else ""


def _path(text: str, command: str) -> Path:
    """The file that a command names; `~` is the user's own folder."""
    if not text:
        raise InputError(f"{command} needs a file name")
    if "\0" in text:
        raise InputError(f"{command}: a file name cannot hold a NUL")
    return Path(os.path.expanduser(text))  # where the user is unknown, it leaves the name as it is
