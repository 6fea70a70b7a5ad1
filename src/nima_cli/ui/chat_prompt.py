"""The editable prompt of `nima chat` on a terminal: keys, completion, history."""

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

from nima_cli.ui.console import safe_text, say

Arguments = Mapping[str, tuple[str, ...] | None]


def prompt_reader(helps: Mapping[str, str], arguments: Arguments, history_file: Path | None) -> Callable[[], str]:
    """A function that asks for one message; it raises KeyboardInterrupt on Ctrl-C, EOFError on Ctrl-D.

    `helps` has a line for each command (with its slash). The other arguments are those of `chat_loop`.
    """
    session: PromptSession[str] = PromptSession(
        [("ansicyan bold", "> ")],
        multiline=True,
        prompt_continuation="  ",
        key_bindings=_keys(),
        history=_history(history_file),
        completer=CommandCompleter(helps, arguments),
        complete_while_typing=True,
        input_processors=[_ShowSteering()],
    )

    def read() -> str:
        sys.stdout.write("\n")
        sys.stdout.flush()
        # A small terminal has no room for eight rows of completions.
        return session.prompt(reserve_space_for_menu=min(8, shutil.get_terminal_size().lines // 3))

    return read


def _keys() -> KeyBindings:
    """Enter sends; Alt-Enter, or Enter after a backslash, begins a new line."""
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: Any) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    return keys


class CommandCompleter(Completer):
    """Completes commands and their arguments, and nothing in a message."""

    def __init__(self, helps: Mapping[str, str], arguments: Arguments) -> None:
        self._helps = helps
        self._arguments = arguments
        self._files = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Completions of the text before the cursor."""
        name, space, argument = document.text_before_cursor.partition(" ")
        if not name.startswith("/") or "\n" in name + argument:
            return
        if not space:
            yield from (
                Completion(command, start_position=-len(name), display_meta=self._helps[command])
                for command in sorted(self._helps)
                if command.startswith(name)
            )
        elif name in self._arguments:
            words = self._arguments[name]
            if words is None:
                yield from self._files.get_completions(Document(argument), complete_event)
                return
            yield from (Completion(word, start_position=-len(argument)) for word in words if word.startswith(argument))


class _ShowSteering(Processor):
    """Replaces bidirectional controls in pasted text; control characters below U+00A0 the prompt shows as `^[`."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        def shown(text: str) -> str:  # as long as `text`, so that the cursor stays where it is
            return "".join("\ufffd" if char > "\x9f" and safe_text(char) != char else char for char in text)

        return Transformation([(style, shown(text)) for style, text, *_ in transformation_input.fragments])


def _history(path: Path | None) -> History:
    """Messages of earlier sessions in a file that only its owner can read, or in memory."""
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.open("ab").close()
    except OSError as error:
        say(f"{path}: messages are not remembered: {error.strerror}", "warning")
        return InMemoryHistory()
    return _LastingHistory(path)


class _LastingHistory(FileHistory):
    def store_string(self, string: str) -> None:
        # A full disk or invalid text does not end the conversation.
        with contextlib.suppress(OSError, UnicodeError):
            super().store_string(string)
