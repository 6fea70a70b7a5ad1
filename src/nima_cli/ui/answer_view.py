"""Prints an answer as it comes, exactly or formatted as Markdown."""

import contextlib
import re
import sys
from collections.abc import Iterator

from rich.cells import cell_len
from rich.segment import Segment, Segments

from nima_cli.errors import NimaError
from nima_cli.ui.console import is_rich, out, safe_text, write_out


def show_answer(pieces: Iterator[str], *, markdown: bool = False) -> None:
    """Print pieces as they come, without control characters, and end the line.

    `pieces` is closed when printing stops, so that the model does too. `markdown` formats paragraph by paragraph where
    the terminal takes styles.
    """
    printer = MarkdownAnswer() if markdown and is_rich(sys.stdout) else PlainAnswer()
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
    """The text itself, with words wrapped on a terminal: a word is shown at its end, a wide character at once."""

    def __init__(self) -> None:
        self._wraps = sys.stdout is not None and sys.stdout.isatty()
        self._column = 0
        self._gap = ""
        self._word = ""
        self._goes_on = False  # `_word` is the rest of a word that is longer than a line

    def push(self, piece: str) -> None:
        """Take a piece; print the words that are complete."""
        text = safe_text(piece)
        write_out("".join(map(self._take, text)) if self._wraps else text)

    def finish(self) -> None:
        """Print the rest and end the line."""
        write_out(self._placed() + "\n")

    def _take(self, character: str) -> str:
        if character in " \t\n":
            done = self._placed()
            self._goes_on = False
            if character != "\n":
                self._gap += character
                return done
            self._column, self._gap = 0, ""
            return f"{done}\n"
        self._word += character
        if cell_len(character) > 1:
            return self._placed()
        if cell_len(self._word) < out().width:
            return ""
        done, self._goes_on = self._placed(), True  # the terminal breaks it, so that a copied word is whole
        return done

    def _placed(self) -> str:
        """The word so far, behind its gap or on a new line."""
        if not self._word:
            return ""
        gap, word, self._gap, self._word = self._gap.expandtabs(4), self._word, "", ""
        length, width = cell_len(word), out().width
        if self._column and not self._goes_on and self._column + len(gap) + length > width:
            self._column = length
            return f"\n{word}"
        self._column = (self._column + len(gap) + length - 1) % width + 1
        return gap + word


_FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})(.*)")


class MarkdownAnswer:
    """Blocks of Markdown, each formatted and printed when it is complete."""

    def __init__(self) -> None:
        self._line = ""
        self._block: list[str] = []
        self._fence: str | None = None
        self._shown = False

    def push(self, piece: str) -> None:
        """Take a piece; print up to the last empty line or end of a code fence."""
        *lines, self._line = (self._line + piece).split("\n")
        for line in lines:
            self._block.append(line)
            mark = _FENCE.fullmatch(line)
            if self._fence is None and mark:
                self._fence = mark[1]
            elif self._fence is None and not line.strip():
                self._show()
            elif self._fence and mark and mark[1].startswith(self._fence) and not mark[2].strip():
                self._fence = None
                self._show()

    def finish(self) -> None:
        """Print the rest."""
        self._block.append(self._line)
        self._line, self._fence = "", None
        self._show()

    def _show(self) -> None:
        text, self._block = "\n".join(self._block), []
        if text.strip():
            if self._shown:
                out().print()
            self._shown = True
            out().print(_formatted(text))
            out().file.flush()


def _formatted(text: str) -> Segments:
    """Foreign Markdown, formatted and safe.

    Rich's own Markdown drops tags, such as `<name>` in a command line, and decodes `&#27;` to an escape character. Here
    tags are text, and text is made safe again after decoding.
    """
    from markdown_it import MarkdownIt
    from rich.markdown import Markdown

    markdown = Markdown("", hyperlinks=False)
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    markdown.parsed = parser.parse(safe_text(text))
    rendered = (segment for segment in out().render(markdown) if not segment.control)
    return Segments(Segment(safe_text(segment.text), segment.style) for segment in rendered)
