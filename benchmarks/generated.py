"""Writes any amount of made-up documentation: every text another, some nearly the same, sentences that recur."""

import json
import random
from itertools import accumulate, product
from pathlib import Path

_WORDS, _SENTENCES, _REMEMBERED = 60_000, 60_000, 2_000
_ALIKE = 0.03


def _sentences(rng: random.Random) -> list[str]:
    """Sentences over a made-up vocabulary whose words are as unevenly frequent as real ones (Zipf), some with code."""
    syllables = ["".join(pair) for pair in product([*"bcdfgklmnprstv", "st", "tr", "pl"], "aeiou")]
    words = ["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3, 3, 4)))) for _ in range(_WORDS)]
    weights = list(accumulate(1 / (rank + 10) for rank in range(_WORDS)))
    sentences = []
    for _ in range(_SENTENCES):
        chosen = rng.choices(words, cum_weights=weights, k=rng.randint(6, 22))
        if rng.random() < 0.15:
            chosen.insert(3, f"`{chosen[0]}-{rng.randint(0, 99_999)}`")
        sentences.append(f"{' '.join(chosen).capitalize()}.")
    return sentences


def write_documents(path: Path, size: int, seed: int = 0) -> int:
    """Write JSON Lines of about `size` bytes, records of 1 to 3 kB; returns how many.

    Of the documents, 3 % are an earlier one with 1 to 6 sentences replaced: near duplicates of every degree.
    """
    rng = random.Random(seed)
    sentences = _sentences(rng)
    earlier: list[list[str]] = []
    count = written = 0
    with path.open("w", encoding="utf-8") as stream:
        while written < size:
            count += 1
            if earlier and rng.random() < _ALIKE:
                parts = list(rng.choice(earlier))
                for _ in range(rng.choice((1, 1, 3, 6))):
                    parts[rng.randrange(len(parts))] = rng.choice(sentences)
            else:
                parts = rng.choices(sentences, k=rng.randint(10, 22))
            if len(earlier) < _REMEMBERED:
                earlier.append(parts)
            else:
                earlier[rng.randrange(_REMEMBERED)] = parts
            body = "\n\n".join(" ".join(parts[start : start + 4]) for start in range(0, len(parts), 4))
            written += stream.write(json.dumps({"text": f"# Part {count}\n\n{body}"}) + "\n")
    return count
