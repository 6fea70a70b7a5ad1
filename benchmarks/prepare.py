"""Times `nima data prepare` against Hugging Face `tokenizers` on the same text, with peak memory, and at more text.

    python benchmarks/prepare.py --times 10 -- --text-files docs --json-files qa.json
    python benchmarks/prepare.py --generate 2e9

What follows `--` goes to `nima data prepare`. The peer trains a BPE of the same size on all documents and encodes them
in one batch, on all cores, from memory: no reading, cleaning, deduplication, splitting, checking or writing. Memory is
the largest sum of proportional set sizes (Linux) over a process and its children. For `--times N` the documents are
written to one JSON Lines file, once and N times with other letters each time, so that no copy is a duplicate.
`--generate N` prepares N bytes of made-up JSON Lines, without a peer; what follows `--` is added to the command.
"""

import argparse
import json
import os
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from generated import write_documents
from readable_view import read_view

_PEER = """
import sys, time
from pathlib import Path
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
texts = Path(sys.argv[1]).read_text("utf-8").split("\\0")
begin = time.perf_counter()
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
trainer = trainers.BpeTrainer(vocab_size=int(sys.argv[2]), show_progress=False)
tokenizer.train_from_iterator(texts, trainer)
trained = time.perf_counter()
tokenizer.encode_batch(texts)
print(trained - begin, time.perf_counter() - trained)
"""


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:
            continue
        for child in found:
            yield from _tree(int(child))


def _memory(pid: int) -> int:
    """Proportional set size in bytes, 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


@dataclass(frozen=True)
class Measured:
    """One command: wall and processor seconds, peak bytes, standard output."""

    seconds: float
    processor: float
    peak: int
    out: str

    def __str__(self) -> str:
        return f"{self.seconds:7.1f} s  {self.processor:7.1f} s of processors  {self.peak / 1e6:7.0f} MB"


def _processor() -> float:
    times = os.times()
    return times.children_user + times.children_system


def measured(command: Sequence[str]) -> Measured:
    """Run a command that must succeed."""
    begin, before, peak = time.perf_counter(), _processor(), 0
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out)
        while process.poll() is None:
            peak = max(peak, sum(map(_memory, _tree(process.pid))))
            time.sleep(0.2)
        seconds = time.perf_counter() - begin
        if process.returncode:
            raise SystemExit(f"{command[:6]} ended with {process.returncode}")
        out.seek(0)
        return Measured(seconds, _processor() - before, peak, out.read())


def prepared(folder: Path, sources: Sequence[str]) -> Measured:
    """One preparation; its output is one JSON object."""
    command = [sys.executable, "-m", "nima_cli", "data", "prepare", "--json", "--output-dir", str(folder), *sources]
    return measured(command)


def texts_of(folder: Path) -> list[str]:
    """Every document of a dataset as plain text."""
    entries = (
        entry
        for split in ("train", "val", "test")
        for entry in read_view((folder / f"{split}.txt").read_bytes().decode("utf-8"))
    )
    return [entry.text or "\n".join(turn.content for turn in entry.turns) for entry in entries]


def write_copies(texts: Sequence[str], path: Path, times: int) -> None:
    """`texts` as JSON Lines, `times` over, with the letters of the alphabet shifted further in each copy."""
    with path.open("w", encoding="utf-8") as stream:
        for shift in range(times):
            letters = "".join(a[shift:] + a[:shift] for a in (string.ascii_lowercase, string.ascii_uppercase))
            table = str.maketrans(string.ascii_letters, letters)
            for text in texts:
                stream.write(json.dumps({"text": text.translate(table)}) + "\n")


def compare(work: Path, sources: Sequence[str], kept: Path | None) -> list[str]:
    """Print nima's figures beside the peer's, and write them where they are to be kept; returns the texts."""
    ours = prepared(work / "data", sources)
    vocab_size = json.loads(ours.out)["vocab_size"]
    texts = texts_of(work / "data")
    (work / "texts").write_text("\0".join(texts), "utf-8")
    peer = measured([sys.executable, "-c", _PEER, str(work / "texts"), str(vocab_size)])
    training, encoding = map(float, peer.out.split())
    print(f"{len(texts):,} documents, {sum(map(len, texts)):,} characters, vocabulary {vocab_size:,}")
    print(f"nima data prepare        {ours}")
    print(f"tokenizers               {peer}")
    print(f"  without starting: train {training:.1f} s, encode {encoding:.1f} s")
    print(f"ratio                    {ours.seconds / (training + encoding):7.2f}", flush=True)
    if kept is not None:
        figures = {"characters": sum(map(len, texts)), "nima": ours.seconds, "nima_peak": ours.peak}
        kept.write_text(json.dumps({**figures, "peer": training + encoding, "peer_peak": peer.peak}))
    return texts


def enlarge(work: Path, texts: Sequence[str], most: int) -> None:
    """Print the figures for the text once and `most` times."""
    found = []
    for times in (1, most):
        write_copies(texts, work / f"{times}.jsonl", times)
        found.append(prepared(work / f"data-{times}", ["--jsonl-files", str(work / f"{times}.jsonl")]))
        print(f"{times:>3} times the text       {found[-1]}", flush=True)
    wall, processor = (getattr(found[1], unit) / getattr(found[0], unit) for unit in ("seconds", "processor"))
    print(f"ratio                    {wall:7.2f}    {processor:7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Times `nima data prepare` against Hugging Face `tokenizers`.")
    parser.add_argument("--times", type=int, default=0, help="also time this many times the text")
    parser.add_argument("--generate", type=float, default=0, metavar="BYTES", help="prepare made-up text instead")
    parser.add_argument("--json", type=Path, help="where to write the figures of both")
    parser.add_argument("sources", nargs="*", help="flags of `nima data prepare`, after `--`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        if arguments.generate:
            count = write_documents(work / "made-up.jsonl", int(arguments.generate))
            print(f"{count:,} documents, {(work / 'made-up.jsonl').stat().st_size / 1e6:,.0f} MB", flush=True)
            print(prepared(work / "data", ["--jsonl-files", str(work / "made-up.jsonl"), *arguments.sources]))
            return
        texts = compare(work, arguments.sources, arguments.json)
        if arguments.times:
            enlarge(work, texts, arguments.times)


if __name__ == "__main__":
    main()
