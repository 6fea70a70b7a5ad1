"""Splits long documents at headings, blocks, lines and words, without loss.

A text is cut into atoms that fit: at headings, then blocks, then lines, then words, then characters, each time only
inside what does not fit yet; a code block that fits is one atom. Atoms are then packed greedily into chunks. The
headings over a chunk may be repeated before it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from nima_cli.engine.data.cleaning.markdown import VERBATIM, blocks, heading_paths, title_lines
from nima_cli.engine.data.document import TOOL_RESPONSE, Kind, Turn

# Ranks of the boundaries before lines; it is better to cut at a lower one.
HEADING, BLOCK, NESTED, LINE, INSIDE = range(5)
CONTEXT_SHARE = 0.25  # of a chunk, at most, for the headings over it; outer ones are dropped first


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a text, and the headings over it as `context`: lines that end with a blank one."""

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
    """Cut `text` into chunks of at most `max_tokens`, context included; only a single character may be longer.

    A chunk has no context if it begins the text or would not fit with it. Each stretch of text is counted at most once
    per level and once more in its chunk, so the cost is nearly linear in the length.

    Args:
        count: tokens of a string; nearly additive, as for every subword tokenizer.
        max_tokens: at least 1.
        heading_context: repeat the headings over each chunk.
    """
    if count(text) <= max_tokens:
        return [Chunk("", text)]
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    ranks = boundary_ranks(text, kind)
    overhead = count("")  # boundary symbols, which a chunk has once, not once for each atom
    paths = heading_paths(lines, kind) if heading_context else None
    cutter = _Cutter(lines, ranks, lambda part: count(part) - overhead, max(max_tokens - overhead, 1), paths)
    return list(cutter.chunks())


def boundary_ranks(text: str, kind: Kind) -> list[int]:
    """The rank of the boundary before each line: `HEADING`, `BLOCK`, `NESTED`, `LINE` or `INSIDE`."""
    lines = text.split("\n")
    return _text_ranks(lines) if kind == "text" else _markdown_ranks(text, len(lines))


def _markdown_ranks(text: str, lines: int) -> list[int]:
    ranks = [LINE] * lines
    after_heading = False
    for block in blocks(text):
        if not after_heading:  # a heading stays with what follows it as long as both fit
            rank = NESTED if block.depth else HEADING if block.kind == "heading" else BLOCK
            ranks[block.start] = min(ranks[block.start], rank)
        after_heading = block.kind == "heading"
        if block.kind in VERBATIM:
            ranks[block.start + 1 : block.end] = [INSIDE] * (block.end - block.start - 1)
    return ranks


def _text_ranks(lines: list[str]) -> list[int]:
    """Ranks from blank lines, indentation and underlined titles, as in reStructuredText."""
    ranks = [LINE] * len(lines)
    for index, (before, line) in enumerate(pairwise(lines), start=1):
        indented = line.startswith((" ", "\t"))
        if before.strip():
            ranks[index] = INSIDE if indented else LINE
        elif line.strip():
            ranks[index] = NESTED if indented else HEADING if title_lines(lines, index) else BLOCK
    return ranks


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Cuts one text; without `paths`, the headings over each line, chunks have no context."""

    lines: list[str]
    ranks: list[int]
    count: Callable[[str], int]
    limit: int
    paths: list[tuple[str, ...]] | None

    def chunks(self) -> Iterator[Chunk]:
        """Pack the atoms greedily."""
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
        """The headings over an atom, without outer ones that would exceed `CONTEXT_SHARE`."""
        above = self.paths[atom.line] if self.paths is not None else ()
        for first in range(len(above)):
            context = "".join(above[first:]) + "\n"
            if self.count(context) <= self.limit * CONTEXT_SHARE:
                return context
        return ""

    def _room(self, first: _Atom, size: int) -> int:
        """Tokens for a chunk that begins with `first` and has at least `size`, which goes before its context."""
        context = self._context(first)
        room = self.limit - self.count(context) if context else self.limit
        return room if size <= room else self.limit

    def _best_cut(self, held: list[_Atom], size: int, atom: _Atom) -> int:
        """How many atoms to release: all, or up to a better boundary if they half fill a chunk and the rest fits."""
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
        """The atoms as one chunk, or in halves if the sum of their counts was too low."""
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
        """Cut lines `start` to `end` at boundaries up to `level`; `rank` is that of the boundary before `start`."""
        text = "".join(self.lines[start:end])
        tokens = self.count(text)
        if tokens <= self.limit:
            first = next((index for index in range(start, end) if self.lines[index].strip()), start)
            yield _Atom(text, tokens, rank, first)  # the headings are those over its first line that is not blank
        elif end - start == 1:
            yield from self._words(text, tokens, rank, start)
        else:
            bounds: list[int] = []
            while not bounds:
                bounds = [index for index in range(start + 1, end) if self.ranks[index] <= level]
                level += 1
            for begin, stop in zip([start, *bounds], [*bounds, end], strict=True):
                yield from self._atoms(begin, stop, level, rank if begin == start else self.ranks[begin])

    def _words(self, text: str, tokens: int, rank: int, line: int) -> Iterator[_Atom]:
        """Cut one line into about equal parts, each at the last white space of its second half if there is some."""
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
    """Cut a conversation between exchanges (a user turn and its answers), with the system turn in every part.

    An exchange that is too long stays whole. The result of a tool does not begin an exchange.
    """
    if count(turns) <= max_tokens:
        return [turns]
    system = turns[:1] if turns[0].role == "system" else ()
    asks = [turn.role == "user" and not turn.content.startswith(TOOL_RESPONSE) for turn in turns]
    first = len(system)
    parts: list[tuple[Turn, ...]] = []
    part = system
    for start, end in pairwise([first, *(i for i in range(first + 1, len(turns)) if asks[i]), len(turns)]):
        exchange = turns[start:end]
        if len(part) > len(system) and count(part + exchange) > max_tokens:
            parts.append(part)
            part = system
        part += exchange
    return [*parts, part]
