"""Times `nima data prepare` against Hugging Face `tokenizers` on the same text, with peak memory, and at more text.

    python benchmarks/prepare.py --times 10 -- --text-files docs --json-files qa.json

What follows `--` goes to `nima data prepare`. The peer trains a BPE of the same size on all documents and encodes them
in one batch, on all cores, from memory: no reading, cleaning, deduplication, splitting, checking or writing. Memory is
the largest sum of proportional set sizes (Linux) over a process and its children. For `--times N` the documents are
written to one JSON Lines file, once and N times with other letters each time, so that no copy is a duplicate.
"""

import argparse
import json
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nima_cli.engine.data.text_view import parse_entries

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
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _tree(int(child))


def _memory(pid: int) -> int:
    """Proportional set size in bytes, 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def measured(command: Sequence[str]) -> tuple[float, int, str]:
    """Wall seconds, peak bytes and standard output of a command that must succeed."""
    begin, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out)
        while process.poll() is None:
            peak = max(peak, sum(map(_memory, _tree(process.pid))))
            time.sleep(0.2)
        seconds = time.perf_counter() - begin
        if process.returncode:
            raise SystemExit(f"{command[:6]} ended with {process.returncode}")
        out.seek(0)
        return seconds, peak, out.read()


def prepared(folder: Path, sources: Sequence[str]) -> tuple[float, int, dict[str, Any]]:
    """Wall seconds, peak bytes and result of one preparation."""
    command = [sys.executable, "-m", "nima_cli", "data", "prepare", "--json", "--output-dir", str(folder), *sources]
    seconds, peak, out = measured(command)
    result: dict[str, Any] = json.loads(out)
    return seconds, peak, result


def texts_of(folder: Path) -> list[str]:
    """Every document of a dataset as plain text."""
    entries = (
        entry
        for split in ("train", "val", "test")
        for entry in parse_entries((folder / f"{split}.txt").read_text("utf-8"), where=split)
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Times `nima data prepare` against Hugging Face `tokenizers`.")
    parser.add_argument("--times", type=int, default=0, help="also time this many times the text")
    parser.add_argument("sources", nargs="+", help="flags of `nima data prepare`, after `--`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        seconds, peak, result = prepared(work / "data", arguments.sources)
        texts = texts_of(work / "data")
        (work / "texts").write_text("\0".join(texts), "utf-8")
        command = [sys.executable, "-c", _PEER, str(work / "texts"), str(result["vocab_size"])]
        _, peer_peak, out = measured(command)
        training, encoding = map(float, out.split())
        peer = training + encoding
        print(f"{len(texts):,} documents, {sum(map(len, texts)):,} characters, vocabulary {result['vocab_size']:,}")
        print(f"nima data prepare        {seconds:7.1f} s  {peak / 1e6:7.0f} MB")
        print(f"tokenizers               {peer:7.1f} s  {peer_peak / 1e6:7.0f} MB")
        print(f"  train {training:.1f} s, encode {encoding:.1f} s")
        print(f"ratio                    {seconds / peer:7.2f}")
        if arguments.times:
            found = []
            for times in (1, arguments.times):
                write_copies(texts, work / f"{times}.jsonl", times)
                found.append(prepared(work / f"data-{times}", ["--jsonl-files", str(work / f"{times}.jsonl")]))
                print(f"{times:>3} times the text       {found[-1][0]:7.1f} s  {found[-1][1] / 1e6:7.0f} MB")
            print(f"ratio                    {found[1][0] / found[0][0]:7.2f}")


if __name__ == "__main__":
    main()
