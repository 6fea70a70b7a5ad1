"""Foreign Markdown for a terminal: formatted, and as harmless as plain text; knows nothing of where it comes from."""

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown
from rich.segment import Segment

from nima_cli.ui.console import safe_text


class MarkdownText:
    """A renderable for `Console.print`.

    Rich's own Markdown leaves out what looks like a tag, as `<name>` does in many a command line, and decodes `&#27;`
    to the character that steers a terminal. Here tags are text, and characters are made safe after decoding, too.
    """

    def __init__(self, text: str) -> None:
        safe = safe_text(text)
        self._markdown = Markdown(safe, hyperlinks=False)
        parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
        self._markdown.parsed = parser.parse(safe)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The segments of the formatted text."""
        for segment in console.render(self._markdown, options):
            if not segment.control:
                yield Segment(safe_text(segment.text), segment.style)
