"""Encodes many texts quickly by caching words and lines, with the same ids as the tokenizer.

In a bpe vocabulary no piece spans a line end, a tab, or the end of a word before a space, so the stretches between
these places can be encoded one by one. A unigram model chooses the best path over the whole text, and single characters
are found faster than stretches, so nothing is cached for these kinds.
"""

import re

from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer

_STRETCH = re.compile("\t| +[^ \t]*|[^ \t]+")
_CROSSING = re.compile("[^ ] |[\n\t].|.[\n\t]", re.DOTALL)
_MAX_STRETCHES, _MAX_STRETCH = 2**17, 64
_MAX_LINES, _MAX_LINE = 2**14, 512


class CachingEncoder:
    """`encode` of one tokenizer with a bounded cache of lines and stretches; not thread-safe."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._stretches: dict[str, list[int]] = {}
        self._lines: dict[str, list[int]] = {}
        self._numbers = list(range(tokenizer.vocab_size))
        self._line_end = tokenizer.encode("\n")
        self._separable = tokenizer.kind == "bpe" and not any(
            _CROSSING.search(tokenizer.piece(token_id)) for token_id in range(tokenizer.vocab_size)
        )

    def encode(self, text: str) -> list[int]:
        """Exactly `tokenizer.encode(text)`."""
        if not self._separable:
            return self.tokenizer.encode(text)
        known, line_end, ids = self._lines, self._line_end, list[int]()
        for line in text.split("\n"):
            found = known.get(line)
            ids += self._line(line) if found is None else found
            ids += line_end
        return ids[: -len(line_end)]

    def _line(self, line: str) -> list[int]:
        known, ids = self._stretches, list[int]()
        for stretch in _STRETCH.findall(line):
            ids += known.get(stretch) or self._stretch(stretch)
        if len(line) <= _MAX_LINE:
            if len(self._lines) >= _MAX_LINES:
                self._lines.clear()
            self._lines[line] = ids
        return ids

    def _stretch(self, stretch: str) -> list[int]:
        # One int object for each id, not for each occurrence, stays in the processor's cache.
        ids = [self._numbers[token_id] for token_id in self.tokenizer.encode(stretch)]
        if len(stretch) <= _MAX_STRETCH:
            if len(self._stretches) >= _MAX_STRETCHES:
                self._stretches.clear()
            self._stretches[stretch] = ids
        return ids
