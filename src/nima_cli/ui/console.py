"""The two consoles (results: stdout, talk: stderr), and foreign text made safe for them."""

import contextlib
import functools
import io
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nima_cli.errors import ResourceError
from nima_cli.files import explain

if TYPE_CHECKING:
    from rich.console import Console

# Wide enough that tables in a pipe keep every column.
PIPE_WIDTH = 160

# All C0 but newline and tab, DEL, all C1, line and paragraph separators, bidirectional controls, lone surrogates.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def safe_text(text: str) -> str:
    """`text` with every code point that could steer a terminal made visible, as `\\x1b` or `\\u202e`.

    A sequence split over several pieces cannot slip through, since each code point is replaced by itself.
    """

    def visible(match: re.Match[str]) -> str:
        code = ord(match.group())
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _UNSAFE.sub(visible, text)


def safe_json(text: str) -> str:
    """JSON text with every such code point written as its JSON escape."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def is_rich(stream: IO[str] | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` takes escape codes: a terminal, not a dumb one, and no NO_COLOR; a closed stream is None."""
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
    """Write a result on stdout unchanged and at once; raises ResourceError if stdout fails."""
    stream = out().file
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise explain(error, Path("stdout"), "write") from error


def out() -> "Console":
    """The console for results: stdout; raises ResourceError if it is closed."""
    if sys.stdout is None:
        raise ResourceError("stdout: cannot write: it is closed")
    _accept_any_character(sys.stdout)
    return _console(to_stderr=False, styled=is_rich(sys.stdout), columns=os.environ.get("COLUMNS"))


def err() -> "Console":
    """The console for talk: stderr."""
    _accept_any_character(sys.stderr)
    return _console(to_stderr=True, styled=is_rich(sys.stderr), columns=os.environ.get("COLUMNS"))


def _accept_any_character(stream: IO[str]) -> None:
    """Show the code of a character that the terminal's encoding lacks, instead of failing."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")


@functools.lru_cache(maxsize=8)
def _console(*, to_stderr: bool, styled: bool, columns: str | None) -> "Console":
    """One console per stream and look, so that talk appears above a live display on the same stream."""
    from rich.console import Console

    class BrokenPipeConsole(Console):
        """Lets a BrokenPipeError out, where Rich itself ends the process."""

        def on_broken_pipe(self) -> None:
            raise

    return BrokenPipeConsole(
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
    """Print a message on stderr, each line labelled; `level` is info, warning, error or hint. It never fails."""
    from rich.text import Text

    for line in message.rstrip("\n").split("\n"):
        label = [(f"{level}: ", _STYLES[level])] if level in _STYLES else []
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone, the pipe is closed, the disk is full
            err().print(Text.assemble(*label, safe_text(line)), soft_wrap=True)


def say_error(message: str, hint: str | None = None) -> None:
    """Print a failure on stderr: an `error:` line per line of `message`, then the `hint:`."""
    say(message, "error")
    if hint is not None:
        say(hint, "hint")
