"""Shows that code survives preparing: every fenced block of a docs folder is in the decoded dataset, byte for byte.

usage: nima data prepare --output-dir DATASET --text-files CORPUS --report REPORT.jsonl
       python benchmarks/fences.py CORPUS DATASET [--report REPORT.jsonl]

First each document is rebuilt from its token ids and compared with the readable view. Then each fence of each Markdown
file, as the CommonMark parser finds it in the untouched file, is looked up in these documents. A fence that is missing
must be in a document that the report lists as left out. Exits 1 if one is missing for no reason, or differs.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from readable_view import read_view

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.diagnostics import printable
from nima_cli.engine.data.ingest.contents import MARKDOWN_SUFFIXES
from nima_cli.engine.data.store.dataset_files import SPLITS, read_dataset
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from nima_cli.engine.data.tokenizer.protocol import Tokenizer


def fences(text: str) -> Iterator[str]:
    """The fenced blocks of a text, marks and indentation included; blank lines at the end of an open one left out."""
    lines = text.split("\n")
    for block in blocks(text):
        if block.kind == "fence":
            yield "\n".join(lines[block.start : block.end]).rstrip("\n")


def samples(dataset: Path, split: str, tokenizer: Tokenizer) -> Iterator[list[str]]:
    """The decoded samples of each document of a split."""
    tokens = np.fromfile(dataset / f"{split}.bin", dtype=read_dataset(dataset).metadata["dtype"])
    index = np.load(dataset / f"{split}.index.npy")
    bounds = [*index["offset"].tolist(), len(tokens)]
    found: list[str] = []
    last = 0
    for number, document in enumerate(index["document"].tolist()):
        if document != last:
            yield found
            found, last = [], document
        found.append(tokenizer.decode(tokens[bounds[number] : bounds[number + 1]].tolist()))
    yield found


def rebuilt(text: str, pieces: list[str]) -> bool:
    """Whether the samples of prose are `text` cut in pieces, each after the headings that it is under or none."""
    position = 0
    for piece in pieces:
        starts = [0]
        while (blank := piece.find("\n\n", starts[-1])) >= 0:
            starts.append(blank + 2)
        start = next((at for at in starts if text.startswith(piece[at:], position)), None)
        if start is None:
            return False
        position += len(piece) - start
    return position == len(text)


def decoded_prose(dataset: Path) -> Iterator[str]:
    """The text of every document of prose, after its ids were compared with it; exits if they differ."""
    tokenizer = load_tokenizer(dataset)
    for split in SPLITS:
        view = read_view((dataset / f"{split}.txt").read_bytes().decode("utf-8"))
        for number, (entry, pieces) in enumerate(zip(view, samples(dataset, split, tokenizer), strict=True)):
            if entry.turns:
                continue
            if not rebuilt(entry.text, pieces):
                sys.exit(f"{split} document {number}: its ids do not give its text")
            yield entry.text


def main() -> int:
    """Count and compare; prints one line a count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    texts = list(decoded_prose(given.dataset))
    known = {fence for text in texts for fence in fences(text)}
    everything = "\n".join(texts)
    rows = map(json.loads, given.report.read_text("utf-8").splitlines()) if given.report else ()
    left_out = {row["where"]: row["reason"] for row in rows}
    counts: Counter[str] = Counter()
    missing: list[str] = []
    for path in sorted(path for path in given.corpus.rglob("*") if path.suffix.lower() in MARKDOWN_SUFFIXES):
        text = path.read_text("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        for fence in fences(text):
            where = printable(str(path))
            counts["fences"] += 1
            if fence in known or fence in everything:
                counts["found"] += 1
            elif where in left_out:
                counts[f"in documents left out: {left_out[where]}"] += 1
            else:
                missing.append(f"{where}: {fence[:60]!r}")
    print(f"documents of prose rebuilt from their ids: {len(texts):,}")
    for name, count in counts.items():
        print(f"{name}: {count:,}")
    print(f"missing: {len(missing):,}")
    print("\n".join(missing[:20]))
    return 1 if missing or not counts["fences"] else 0


if __name__ == "__main__":
    sys.exit(main())
