"""Prints one answer as it comes, exactly or formatted as Markdown; knows nothing of prompts and models."""

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Protocol

from nima_cli.errors import NimaError
from nima_cli.ui.console import is_rich, out, safe_text


class _Printer(Protocol):
    def push(self, piece: str) -> None: ...

    def finish(self) -> None: ...


def show_answer(pieces: Iterator[str], *, markdown: bool = False) -> None:
    """Print pieces as they come, without control characters, and end the line.

    Args:
        pieces: closed when printing is stopped, so that nothing goes on computing behind the next prompt.
        markdown: format paragraph by paragraph, where the terminal takes styles; elsewhere the text stays as it is.
    """
    printer: _Printer = MarkdownAnswer() if markdown and is_rich(sys.stdout) else PlainAnswer()
    begun = False
    try:
        for piece in pieces:
            begun = True
            printer.push(piece)
    except (KeyboardInterrupt, NimaError):
        if begun:
            printer.finish()
        raise
    finally:
        with contextlib.suppress(AttributeError):
            pieces.close()  # type: ignore[attr-defined]
    printer.finish()


class PlainAnswer:
    """The text itself."""

    def __init__(self) -> None:
        self._stream = out().file

    def push(self, piece: str) -> None:
        """Print a piece at once."""
        self._stream.write(safe_text(piece))
        self._stream.flush()

    def finish(self) -> None:
        """End the line."""
        self._stream.write("\n")
        self._stream.flush()


_FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})(.*)")


class MarkdownAnswer:
    """Blocks of Markdown, each printed when it is whole, so that nothing on the screen is ever drawn twice."""

    def __init__(self) -> None:
        self._line = ""
        self._block: list[str] = []
        self._fence: str | None = None
        self._shown = False

    def push(self, piece: str) -> None:
        """Take a piece; print what has become whole: up to an empty line, or to the end of a code fence."""
        *lines, self._line = (self._line + piece).split("\n")
        for line in lines:
            self._take(line)

    def finish(self) -> None:
        """Print the rest."""
        self._block.append(self._line)
        self._line, self._fence = "", None
        self._show()

    def _take(self, line: str) -> None:
        self._block.append(line)
        mark = _FENCE.fullmatch(line)
        if self._fence is None:
            if mark:
                self._fence = mark[1]
            elif not line.strip():
                self._show()
        elif mark and mark[1].startswith(self._fence) and not mark[2].strip():
            self._fence = None
            self._show()

    def _show(self) -> None:
        text, self._block = "\n".join(self._block), []
        if not text.strip():
            return
        from nima_cli.ui.markdown_text import MarkdownText

        if self._shown:
            out().print()
        self._shown = True
        out().print(MarkdownText(text))
        out().file.flush()
