"""What the commands of a chat do to its conversation and settings; knows no terminal."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nima_cli.errors import InputError
from nima_cli.ui.console import say

if TYPE_CHECKING:
    from nima_cli.engine.inference.conversation import Conversation
    from nima_cli.engine.inference.sampling import Sampling

OPTIONS = {
    "temperature": float, "top_k": int, "top_p": float, "min_p": float, "repetition_penalty": float,
    "max_new_tokens": int, "seed": int,
}  # fmt: skip


class ChatSession:
    """A conversation, how its answers are drawn, and how fast they came."""

    def __init__(
        self,
        conversation: "Conversation",
        sampling: "Sampling",
        *,
        max_new_tokens: int,
        seed: int,
        stop: tuple[str, ...],
    ) -> None:
        self.conversation = conversation
        self.sampling = sampling
        self.max_new_tokens = max_new_tokens
        self.seed = seed
        self.stop = stop
        self._dropped = 0
        self._rate = 0.0

    def answer(self, message: str) -> Iterator[str]:
        """Stream the answer; says once whenever old turns leave the context."""
        turns = len(self.conversation.turns)
        pieces = self.conversation.ask(
            message, sampling=self.sampling, max_new_tokens=self.max_new_tokens, seed=self.seed + turns, stop=self.stop
        )
        start, text = time.perf_counter(), ""
        for piece in pieces:
            text += piece
            yield piece
        tokens = len(self.conversation.generator.tokenizer.encode(text))
        self._rate = tokens / max(time.perf_counter() - start, 1e-9)
        dropped = self.conversation.first_kept(self.max_new_tokens)
        if dropped > self._dropped:
            say(f"the oldest {dropped} turns no longer fit the context and are left out")
        self._dropped = dropped

    def reset(self, _: str) -> str:
        """Forget the conversation; the system text stays."""
        self.conversation.reset()
        self._dropped = 0
        return "forgotten"

    def retry(self, _: str) -> Iterator[str]:
        """Answer the last question again, differently."""
        question = self.conversation.undo()
        if question is None:
            raise InputError("there is nothing to retry")
        self.seed += 1
        return self.answer(question)

    def undo(self, _: str) -> str:
        """Take back the last question and its answer."""
        return "nothing to take back" if self.conversation.undo() is None else "taken back"

    def set_system(self, text: str) -> str:
        """Show or change the system text."""
        if text:
            self.conversation.system = text
        return f"system: {self.conversation.system or '(none)'}"

    def set_option(self, assignment: str) -> str:
        """Show the settings, or change one: /set temperature=0.5."""
        if assignment:
            name, separator, value = assignment.replace(" ", "=", 1).partition("=")
            if not separator or name not in OPTIONS:
                raise InputError(f"`{assignment}`: expected NAME=VALUE", hint=f"names: {', '.join(OPTIONS)}")
            self._change(name, value.strip())
        values = {**dataclasses.asdict(self.sampling), "max_new_tokens": self.max_new_tokens, "seed": self.seed}
        return "  ".join(f"{name}={value}" for name, value in values.items())

    def stats(self, _: str) -> str:
        """Show the speed of the last answer and how full the context is."""
        used, context = self.conversation.tokens_used(), self.conversation.generator.generator.context_length
        return (
            f"{len(self.conversation.turns)} turns, {used} of {context} tokens of context, "
            f"last answer {self._rate:.0f} tokens/s"
        )

    def save(self, path: str) -> str:
        """Write the conversation to a JSON file."""
        if not path:
            raise InputError("/save needs a file name")
        self.conversation.save(Path(path))
        return f"saved to {path}; `nima data prepare --json-files` reads it"

    def load(self, path: str) -> str:
        """Go on from a saved conversation."""
        if not path:
            raise InputError("/load needs a file name")
        self.conversation.load(Path(path))
        self._dropped = 0
        return f"{len(self.conversation.turns)} turns loaded"

    def _change(self, name: str, text: str) -> None:
        try:
            value = OPTIONS[name](text)
        except ValueError as error:
            raise InputError(f"`{text}` is not a value for {name}") from error
        if name == "max_new_tokens":
            if value < 1:
                raise InputError("max_new_tokens must be at least 1")
            self.max_new_tokens = int(value)
        elif name == "seed":
            self.seed = int(value)
        else:
            self.sampling = dataclasses.replace(self.sampling, **{name: value})
