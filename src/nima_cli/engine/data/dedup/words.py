"""What the words of a text are, in scripts with spaces and without."""

import re
from collections.abc import Iterator

# Han, kana, Bopomofo and Yi: a word is one or two characters.
_SYLLABLES = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
_SYLLABLES += "\u4e00-\u9fff\ua000-\ua4cf\uf900-\ufaff\uff66-\uff9f\U00016fe0-\U00018d8f\U0001aff0-\U0001b2ff"
_SYLLABLES += "\U00020000-\U0003ffff"
# Thai, Lao, Tibetan, Burmese, Khmer, Tai, Balinese and Javanese: a word is several characters.
_LETTERS = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ebd\u0ec0-\u0ece\u0edc-\u0edf\u0f00-\u0fff\u1000-\u109f\u1780-\u17dd"
_LETTERS += "\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b4b\ua980-\ua9c0\ua9e0-\ua9fe\uaa60-\uaadf"
_UNSPACED = re.compile(f"[{_SYLLABLES}{_LETTERS}]")
_PART = re.compile(f"(?P<syllables>[{_SYLLABLES}]+)|(?P<letters>[{_LETTERS}]+)|[^{_SYLLABLES}{_LETTERS}\\s]+")
# A run of five begins at five characters, and covers as much as five words: some 8 characters, or 16.
_SYLLABLES_FROM_EACH, _LETTERS_FROM_EACH = 4, 12


def words(text: str) -> list[str]:
    """The words of `text`: what stands between white space.

    Where a script puts no spaces between its words, a few characters from each one on stand for them; they overlap,
    so that a change has no influence on what is far from it, and no dictionary is needed.
    """
    if text.isascii() or not _UNSPACED.search(text):
        return text.split()
    return list(_parts(text))


def _parts(text: str) -> Iterator[str]:
    for part in _PART.finditer(text):
        if part.lastgroup is None:
            yield part[0]
            continue
        size = _SYLLABLES_FROM_EACH if part.lastgroup == "syllables" else _LETTERS_FROM_EACH
        run = part[0]
        for start in range(max(len(run) - size + 1, 1)):
            yield run[start : start + size]
