"""The two consoles (data: stdout, talk: stderr), and foreign text made safe for them."""

import contextlib
import functools
import io
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.text import Text

from nima_cli.errors import ResourceError
from nima_cli.files import explain

# Tables in a pipe keep every column: whoever reads the pipe decides where lines end.
PIPE_WIDTH = 160

# All C0 but newline and tab, DEL, all C1, line and paragraph separators, bidirectional controls, lone surrogates.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def safe_text(text: str) -> str:
    """`text` with every code point that could steer a terminal made visible, as `\\x1b` or `\\u202e`.

    Works per code point and keeps no state, so that a sequence split over several pieces cannot slip through.
    """
    return _UNSAFE.sub(_visible, text)


def safe_json(text: str) -> str:
    """JSON text in which every such code point is written as its escape, which means the same to every reader."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def is_rich(stream: IO[str] | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether escape codes and redrawing are welcome on `stream`: a terminal, not a dumb one, and no NO_COLOR.

    A stream is None where its descriptor was closed when Python started.
    """
    welcome = environ.get("TERM") != "dumb" and not environ.get("NO_COLOR")
    return stream is not None and stream.isatty() and welcome


def can_show(text: str, stream: IO[str] | None) -> bool:
    """Whether the encoding of `stream` has all characters of `text`."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def command(*words: str | Path) -> str:
    """A command line to copy, in backticks and quoted for a shell."""
    return f"`{shlex.join(str(word) for word in words)}`"


def write_out(text: str) -> None:
    """Write a result on stdout as it is, and at once; raises ResourceError where stdout cannot take it."""
    stream = out().file
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise explain(error, Path("stdout"), "write") from error


def out() -> Console:
    """The console for data: stdout; raises ResourceError where it is closed, so that nobody could see a result."""
    if sys.stdout is None:  # the descriptor was closed when Python started
        raise ResourceError("stdout: cannot write: it is closed")
    _accept_any_character(sys.stdout)
    return _console(to_stderr=False, styled=is_rich(sys.stdout), columns=os.environ.get("COLUMNS"))


def err() -> Console:
    """The console for talk: stderr."""
    _accept_any_character(sys.stderr)
    return _console(to_stderr=True, styled=is_rich(sys.stderr), columns=os.environ.get("COLUMNS"))


def _accept_any_character(stream: IO[str]) -> None:
    """Where the terminal's encoding lacks a character, show its code instead of failing."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")


class _Console(Console):
    """Rich ends the process when the reader of its output goes away; whoever prints decides that here."""

    def on_broken_pipe(self) -> None:
        """Let the BrokenPipeError that is being handled out."""
        raise


@functools.lru_cache(maxsize=8)
def _console(*, to_stderr: bool, styled: bool, columns: str | None) -> Console:
    """One console per stream and look, so that talk and a live display on the same stream know of each other.

    It writes to whatever `sys.stdout` or `sys.stderr` is at that moment.
    """
    return _Console(
        stderr=to_stderr,
        force_terminal=styled,
        force_interactive=styled,
        force_jupyter=False,
        no_color=not styled,
        width=None if styled or columns is not None else PIPE_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )


_STYLES = {"error": "bold red", "warning": "bold yellow", "hint": "bold cyan"}


def say(message: str, level: str = "info") -> None:
    """One piece of talk on stderr; `level` is info, warning, error or hint. Each line of a message is labelled.

    Talk that nobody can hear any more is no reason to stop what it is about.
    """
    for line in message.rstrip("\n").split("\n"):
        label = [(f"{level}: ", _STYLES[level])] if level in _STYLES else []
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone, the pipe is closed, the disk is full
            err().print(Text.assemble(*label, safe_text(line)), soft_wrap=True)


def say_error(message: str, hint: str | None = None) -> None:
    """A failure on stderr: one `error:` line per problem in `message`, then `hint:` where there is one."""
    say(message, "error")
    if hint is not None:
        say(hint, "hint")
