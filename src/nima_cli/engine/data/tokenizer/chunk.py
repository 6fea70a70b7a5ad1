"""Splits what is too long at its natural seams, losing nothing.

A text is cut into atoms that each fit: at headings, then blank lines and blocks, then lines, then words, then
characters, each finer cut only inside what does not fit otherwise. Atoms are then packed greedily. A code block that
fits is one atom. A chunk may be told the headings that it is under, as lines before its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nima_cli.engine.data.cleaning.headings import HeadingPaths, title_lines
from nima_cli.engine.data.cleaning.markdown import VERBATIM, blocks
from nima_cli.engine.data.document import TOOL_RESPONSE, Kind, Turn

# How good a line boundary is to cut at; lower is better.
HEADING, BLOCK, NESTED, LINE, INSIDE = range(5)
# Headings before a chunk may take this share of its room; outer ones give way first.
CONTEXT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a text, and the headings it is under but does not hold, as lines that end with a blank one."""

    context: str
    text: str


@dataclass(frozen=True, slots=True)
class _Atom:
    text: str
    tokens: int
    rank: int
    line: int


def split_text(
    text: str, kind: Kind, count: Callable[[str], int], max_tokens: int, *, heading_context: bool = True
) -> list[Chunk]:
    """Chunks whose texts joined give `text` again, each with its context of at most `max_tokens`.

    Only a single character may be too long. A chunk has no context when it begins the text, or when only it alone
    fits. Each stretch of text is counted at most once per level and once more when its chunk is done, so the cost is
    near-linear in the length.

    Args:
        count: tokens of a string; nearly additive, as for every subword tokenizer.
        max_tokens: at least 1.
        heading_context: give chunks the headings that they are under.
    """
    if count(text) <= max_tokens:
        return [Chunk("", text)]
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    ranks = boundary_ranks(text, kind)
    # What `count` adds to every string (boundary symbols) must not be paid once per atom.
    overhead = count("")
    paths = HeadingPaths(lines, kind) if heading_context else None
    cutter = _Cutter(lines, ranks, lambda part: count(part) - overhead, max(max_tokens - overhead, 1), paths)
    return list(cutter.chunks())


def boundary_ranks(text: str, kind: Kind) -> list[int]:
    """How good the boundary before each line of `text` is to cut at: `HEADING`, `BLOCK`, `NESTED`, `LINE`, `INSIDE`."""
    lines = text.split("\n")
    return _text_ranks(lines) if kind == "text" else _markdown_ranks(text, len(lines))


def _markdown_ranks(text: str, lines: int) -> list[int]:
    """The rank of the boundary before each line."""
    ranks = [LINE] * lines
    after_heading = False
    for block in blocks(text):
        # A heading stays with what follows it as long as both fit.
        if not after_heading:
            rank = NESTED if block.depth else HEADING if block.kind == "heading" else BLOCK
            ranks[block.start] = min(ranks[block.start], rank)
        after_heading = block.kind == "heading"
        if block.kind in VERBATIM:
            ranks[block.start + 1 : block.end] = [INSIDE] * (block.end - block.start - 1)
    return ranks


def _text_ranks(lines: list[str]) -> list[int]:
    """As for Markdown, from blank lines, indentation and underlined titles (reStructuredText)."""
    ranks = [LINE] * len(lines)
    for index in range(1, len(lines)):
        line = lines[index]
        if lines[index - 1].strip():
            if line[0:1] in (" ", "\t"):
                ranks[index] = INSIDE
        elif line.strip():
            ranks[index] = NESTED if line[0] in " \t" else HEADING if title_lines(lines, index) else BLOCK
    return ranks


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Cuts one text.

    Attributes:
        paths: the headings over each line; None gives chunks no context.
    """

    lines: list[str]
    ranks: list[int]
    count: Callable[[str], int]
    limit: int
    paths: HeadingPaths | None

    def chunks(self) -> Iterator[Chunk]:
        """Greedy packing of the atoms."""
        held: list[_Atom] = []
        size, room = 0, self.limit
        for atom in self._atoms(0, len(self.lines), HEADING, HEADING):
            while held and size + atom.tokens > room:
                cut = self._best_cut(held, size, atom)
                yield from self._verified(held[:cut])
                held = held[cut:]
                size = sum(one.tokens for one in held)
                room = self._room(held[0], size) if held else self.limit
            if not held:
                room = self._room(atom, atom.tokens)
            held.append(atom)
            size += atom.tokens
        yield from self._verified(held)

    def _context(self, atom: _Atom) -> str:
        """The headings over an atom, as many of the inner ones as may be."""
        above = self.paths.above(atom.line) if self.paths is not None else ()
        for first in range(len(above)):
            context = "".join(above[first:]) + "\n"
            if self.count(context) <= self.limit * CONTEXT_SHARE:
                return context
        return ""

    def _room(self, first: _Atom, size: int) -> int:
        """Tokens for a chunk that begins with `first` and has `size` at least: what fits comes before its context."""
        context = self._context(first)
        room = self.limit - self.count(context) if context else self.limit
        return room if size <= room else self.limit

    def _best_cut(self, held: list[_Atom], size: int, atom: _Atom) -> int:
        """How many atoms to let go: all, or up to a better seam if the chunk stays half full and the rest fits on."""
        best, best_rank, total = len(held), atom.rank, size
        for index in range(len(held) - 1, 0, -1):
            size -= held[index].tokens
            if size * 2 < self.limit or total - size + atom.tokens > self.limit:
                break
            rest = total - size + atom.tokens
            if held[index].rank < best_rank and rest <= self._room(held[index], 0):
                best, best_rank = index, held[index].rank
        return best

    def _verified(self, atoms: list[_Atom]) -> Iterator[Chunk]:
        """The atoms as one chunk; in halves where the sum of their counts was too low an estimate."""
        context, text = self._context(atoms[0]), "".join(atom.text for atom in atoms)
        if context and self.count(context + text) <= self.limit:
            yield Chunk(context, text)
        elif len(atoms) < 2 or self.count(text) <= self.limit:
            yield Chunk("", text)
        else:
            middle = len(atoms) // 2
            yield from self._verified(atoms[:middle])
            yield from self._verified(atoms[middle:])

    def _atoms(self, start: int, end: int, level: int, rank: int) -> Iterator[_Atom]:
        """Cut lines `start` to `end` at boundaries up to `level`, and finer only what does not fit.

        Args:
            rank: of the boundary before `start`.
        """
        text = "".join(self.lines[start:end])
        tokens = self.count(text)
        if tokens <= self.limit:
            yield _Atom(text, tokens, rank, self._first_line(start, end))
        elif end - start == 1:
            yield from self._words(text, tokens, rank, start)
        else:
            bounds: list[int] = []
            while not bounds:
                bounds = [index for index in range(start + 1, end) if self.ranks[index] <= level]
                level += 1
            for begin, stop in zip([start, *bounds], [*bounds, end], strict=True):
                yield from self._atoms(begin, stop, level, rank if begin == start else self.ranks[begin])

    def _first_line(self, start: int, end: int) -> int:
        """The first line that says something: what it is under decides, not what the blank lines before it are."""
        return next((index for index in range(start, end) if self.lines[index].strip()), start)

    def _words(self, text: str, tokens: int, rank: int, line: int) -> Iterator[_Atom]:
        """Cut one line into about equal parts, at white space where there is some in the second half of a part."""
        if tokens <= self.limit or len(text) == 1:
            yield _Atom(text, tokens, rank, line)
            return
        length = -(-len(text) // (tokens // self.limit + 1))
        start = 0
        while start < len(text):
            end = start + length
            if end < len(text):
                spaces = [text.rfind(space, start + length // 2, end) for space in " \t"]
                end = max(spaces) + 1 or end
            part = text[start:end]
            yield from self._words(part, self.count(part), rank if start == 0 else INSIDE + 1, line)
            start = end


def split_conversation(
    turns: tuple[Turn, ...], count: Callable[[tuple[Turn, ...]], int], max_tokens: int
) -> list[tuple[Turn, ...]]:
    """Cut a conversation between exchanges (a user turn and what answers it), with the system turn in every part.

    An exchange that is too long by itself stays whole, as a part that is too long.

    Args:
        turns: an optional system turn, then user and assistant in turn. What tools answered begins no exchange.
        count: tokens of a conversation.
    """
    if count(turns) <= max_tokens:
        return [turns]
    system = turns[:1] if turns[0].role == "system" else ()
    parts: list[tuple[Turn, ...]] = []
    part = system
    for exchange in _exchanges(turns[len(system) :]):
        if len(part) > len(system) and count(part + exchange) > max_tokens:
            parts.append(part)
            part = system
        part += exchange
    return [*parts, part]


def _exchanges(turns: tuple[Turn, ...]) -> Iterator[tuple[Turn, ...]]:
    starts = [index for index, turn in enumerate(turns) if index == 0 or _asks(turn)]
    for start, end in zip(starts, [*starts[1:], len(turns)], strict=True):
        yield turns[start:end]


def _asks(turn: Turn) -> bool:
    return turn.role == "user" and not turn.content.startswith(TOOL_RESPONSE)
