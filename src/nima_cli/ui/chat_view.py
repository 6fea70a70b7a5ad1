"""The prompt loop of `nima chat`: lines in, streamed text out; knows nothing of models, tokens or conversations."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nima_cli.errors import InputError, NimaError
from nima_cli.ui.console import is_rich, out, safe_text, say, say_error

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import History

Answer = Callable[[str], Iterator[str]]
Command = Callable[[str], str | Iterator[str] | None]

WELCOME = "Alt-Enter starts a new line, /help lists the commands, Ctrl-D leaves."
EXITS = ("/exit", "/quit")
# A slash and one word: `/etc/hosts is empty` is a message, not a command.
_COMMAND = re.compile(r"(/\w*)(?:\s+(.*))?", re.DOTALL)


def chat_loop(answer: Answer, commands: Mapping[str, Command], *, history_file: Path | None) -> None:
    """Read messages and print answers until the input ends or `/exit` is typed.

    On a terminal: line editing, history, completion of commands; Ctrl-C stops an answer; failures are shown and the
    loop goes on. Otherwise each line of stdin is a message, stdout holds the answers and nothing else, and the first
    failure ends the loop.

    Args:
        answer: a message -> the pieces of the answer, printed as they come. It is closed when stopped early.
        commands: name with its slash -> what it does with the rest of the line. A returned text is talk for stderr; an
            iterator is printed as an answer. The first line of its docstring is its help.
        history_file: where messages are remembered between sessions; None remembers them for this one only.

    Raises:
        InputError: a message is not valid UTF-8 (without a terminal).
        NimaError: what `answer` or a command failed with (without a terminal).
    """
    if is_rich(_stdin()) and is_rich(sys.stdout):
        _terminal_loop(answer, commands, history_file)
    else:
        for line in _plain_lines():
            if not _turn(line, answer, commands):
                return


def _terminal_loop(answer: Answer, commands: Mapping[str, Command], history_file: Path | None) -> None:
    session = _prompt_session([*commands, "/help", *EXITS], history_file)
    say(WELCOME)
    while True:
        try:
            message = session.prompt([("", "\n"), ("ansicyan bold", "> ")])
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        try:
            if not _turn(message, answer, commands):
                return
        except KeyboardInterrupt:
            say("\n(stopped)")
        except NimaError as error:
            say_error(error.message, hint=error.hint)


def _turn(message: str, answer: Answer, commands: Mapping[str, Command]) -> bool:
    """Act on one message; False when it asks to leave."""
    try:
        message.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError("message: not valid UTF-8", hint="convert it, for example with `iconv`") from error
    message = message.strip()
    command = _COMMAND.fullmatch(message)
    if command is not None:
        name, argument = command.group(1), command.group(2) or ""
        if name in EXITS:
            return False
        _run_command(name, argument, commands)
    elif message:
        _stream(answer(message))
    return True


def _run_command(name: str, argument: str, commands: Mapping[str, Command]) -> None:
    if name in commands:
        result = commands[name](argument)
        if isinstance(result, str):
            say(result)
        elif result is not None:
            _stream(result)
    elif name == "/help":
        say(_help(commands))
    else:
        say(f"unknown command `{name}`; there are {' '.join([*commands, '/help', '/exit'])}")


def _help(commands: Mapping[str, Command]) -> str:
    texts = {name: (command.__doc__ or "").strip().split("\n", 1)[0] for name, command in commands.items()}
    texts |= {"/help": "Show this list.", "/exit": "Leave, as Ctrl-D does."}
    width = max(len(name) for name in texts)
    return "\n".join(f"{name:<{width}}  {text}".rstrip() for name, text in texts.items())


def _stream(pieces: Iterator[str]) -> None:
    """Print pieces as they come, exactly but for control characters, and end the line."""
    stream = out().file
    try:
        for piece in pieces:
            stream.write(safe_text(piece))
            stream.flush()
    finally:
        # A stopped answer must not go on computing behind the next prompt.
        with contextlib.suppress(AttributeError):
            pieces.close()  # type: ignore[attr-defined]
    stream.write("\n")
    stream.flush()


def _plain_lines() -> Iterator[str]:
    """The lines of stdin until it ends; a line that is not UTF-8 comes with surrogates, which a turn refuses."""
    stdin = _stdin()
    if stdin is None:
        return
    if isinstance(stdin, io.TextIOWrapper):
        stdin.reconfigure(errors="surrogateescape")
    while line := stdin.readline():
        yield line


def _stdin() -> IO[str] | None:
    """Stdin, or None where its descriptor was closed when Python started."""
    return sys.stdin


def _prompt_session(names: list[str], history_file: Path | None) -> "PromptSession[str]":
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: Any) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    return PromptSession(
        multiline=True,
        prompt_continuation="  ",
        key_bindings=keys,
        history=_history(history_file),
        completer=WordCompleter(sorted(names), sentence=True),
        complete_while_typing=True,
    )


def _history(path: Path | None) -> "History":
    """Messages of earlier sessions, in a file that only its owner can read; in memory where that is not possible."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        with path.open("ab"):
            pass
    except OSError as error:
        say(f"{path}: messages are not remembered: {error.strerror}", "warning")
        return InMemoryHistory()

    class LastingHistory(FileHistory):
        def store_string(self, string: str) -> None:
            with contextlib.suppress(OSError):  # a full disk must not end a conversation
                super().store_string(string)

    return LastingHistory(path)
