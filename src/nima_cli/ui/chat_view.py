"""The loop of `nima chat`: lines in, streamed text out."""

import functools
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nima_cli.errors import InputError, NimaError
from nima_cli.ui.answer_view import show_answer
from nima_cli.ui.console import err, is_rich, say, say_error

Answer = Callable[[str], Iterator[str]]
Command = Callable[[str], str | Iterator[str] | None]

WELCOME = "Alt-Enter or \\ starts a new line, /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves."
PLAIN_WELCOME = "/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves."
EXITS = ("/exit", "/quit")
# People type these to leave.
BARE_EXITS = ("exit", "quit", "exit()", "quit()", ":q", ":q!", ":wq", "bye")
# A slash and one word: `/etc/hosts is empty` is a message, not a command.
_COMMAND = re.compile(r"(/\w*!?)(?:\s+(.*))?", re.DOTALL)


def chat_loop(
    answer: Answer,
    commands: Mapping[str, Command],
    *,
    arguments: Mapping[str, tuple[str, ...] | None] | None = None,
    history_file: Path | None,
    markdown: bool = False,
    welcome: bool = True,
) -> None:
    """Read messages and print answers until the input ends or `/exit` is typed.

    At a terminal Ctrl-C stops an answer, and the loop goes on after a failure; a rich terminal gets line editing,
    history and completion. Otherwise each line of stdin is a message, stdout holds only the answers, and the first
    failure is raised.

    Args:
        answer: a message -> the pieces of the answer, which are closed when stopped early.
        commands: name with its slash -> its action on the rest of the line. A returned text goes to stderr; an iterator
            is printed as an answer. The first line of its docstring is its help.
        arguments: completions of a command's argument; None completes file names.
        welcome: name the most important keys first.
    """
    loop = _Loop(answer, commands, markdown)
    stdin: IO[str] | None = sys.stdin  # None where its descriptor was closed when Python started
    if stdin is None or not stdin.isatty():
        while (line := _read_line(stdin)) and loop.turn(line):
            pass
        return
    read: Callable[[], str] = functools.partial(_ask_plainly, stdin)
    greeting = PLAIN_WELCOME
    if is_rich(stdin) and is_rich(sys.stdout):
        from nima_cli.ui.chat_prompt import prompt_reader

        read, greeting = prompt_reader(loop.helps(), arguments or {}, history_file), WELCOME
    if welcome:
        say(greeting)
    while _goes_on(loop, read):
        pass


@dataclass
class _Loop:
    answer: Answer
    commands: Mapping[str, Command]
    markdown: bool
    answering: bool = False

    def turn(self, message: str) -> bool:
        """Act on one message; False when it asks to leave."""
        try:
            message.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError("message: not valid UTF-8", hint="convert it, for example with `iconv`") from error
        message = message.strip()
        if command := _COMMAND.fullmatch(message):
            if command[1] in EXITS:
                return False
            self._run(command[1], command[2] or "")
        elif message.lower() in BARE_EXITS:
            say(f"left the chat: `{message}` alone leaves, as `/exit` does")
            return False
        elif message:
            self.answering = True
            self._show(self.answer(message))
        return True

    def helps(self) -> dict[str, str]:
        """Each command and its help in one line."""
        texts = {name: (command.__doc__ or "").strip().split("\n", 1)[0] for name, command in self.commands.items()}
        return texts | {"/help": "Show this list.", "/exit": "Leave, as Ctrl-D or the word `exit` alone does."}

    def _run(self, name: str, argument: str) -> None:
        if name == "/help":
            helps = self.helps()
            width = max(len(name) for name in helps)
            say("\n".join(f"{name:<{width}}  {text}".rstrip() for name, text in helps.items()))
        elif name not in self.commands:
            say(f"unknown command `{name}`; there are {' '.join([*self.commands, '/help', '/exit'])}")
        else:
            result = self.commands[name](argument)
            if isinstance(result, str):
                say(result)
            elif result is not None:
                self._show(result)

    def _show(self, pieces: Iterator[str]) -> None:
        self.answering = True
        show_answer(pieces, markdown=self.markdown)
        self.answering = False


def _goes_on(loop: _Loop, read: Callable[[], str]) -> bool:
    """One message at a terminal, where the chat goes on after a failure."""
    try:
        if loop.answering:  # the answer before this was stopped
            loop.answering = False
            say("\n(stopped)")
        return loop.turn(read())
    except KeyboardInterrupt:
        return True
    except EOFError:
        return False
    except NimaError as error:
        loop.answering = False
        say_error(error.message, hint=error.hint)
        return True


def _ask_plainly(stdin: IO[str]) -> str:
    """One line from a terminal without escape codes; raises EOFError at the end."""
    talk = err().file
    talk.write("\n> ")
    talk.flush()
    line = _read_line(stdin)
    if not line:
        talk.write("\n")
        raise EOFError
    return line


def _read_line(stdin: IO[str] | None) -> str:
    """The next line, empty at the end; invalid UTF-8 becomes surrogates, which `turn` refuses."""
    if isinstance(stdin, io.TextIOWrapper) and stdin.errors != "surrogateescape":
        stdin.reconfigure(errors="surrogateescape")
    return stdin.readline() if stdin is not None else ""
