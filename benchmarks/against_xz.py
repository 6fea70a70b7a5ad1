"""Compares a checkpoint with `xz -9` as a predictor of a split's text; knows nothing of how the model was trained.

Both are asked how many bits they need for each byte of the same documents. The model's figure is that of `nima eval`,
and includes what it pays for the end of each document. xz gets all documents at once, joined without any boundary
between them, so that it pays nothing for their ends and may learn from the whole split. The documents are as the model
gets them: a piece of a long one begins with the headings that it is under. Run as

    python benchmarks/against_xz.py RUN DATA

It prints one table and exits 0 when the model needs fewer bits than xz, 1 when it does not, 2 on bad input.
"""

import argparse
import json
import lzma
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nima_cli.engine.data.store.dataset import open_dataset
from nima_cli.errors import NimaError


def split_text(data: Path, split: str) -> bytes:
    """The bytes that a model is asked to predict in a split, without boundaries and roles.

    Raises:
        NimaError: the dataset cannot be opened.
    """
    dataset = open_dataset(data)
    arrays, tokenizer = dataset.arrays(split), dataset.tokenizer
    ids = arrays.tokens if arrays.mask is None else arrays.tokens[arrays.mask != 0]
    bytes_of = [tokenizer.token_bytes(number) for number in range(tokenizer.vocab_size)]
    return b"".join(bytes_of[number] for number in ids.tolist())


def evaluate(run: Path, data: Path, split: str) -> dict[str, Any]:
    """What `nima eval --json` says of a checkpoint; its own message goes to stderr when it fails.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    named = ["--checkpoint", str(run), "--data", str(data), "--split", split]
    command = [sys.executable, "-m", "nima_cli", "eval", *named, "--json", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def table(model_bits: float, xz_bits: float, *, text_bytes: int, split: str) -> Table:
    """Both figures side by side."""
    found = Table(title=f"{split} split, {text_bytes:,} bytes of text")
    found.add_column("predictor")
    found.add_column("bits per byte", justify="right")
    found.add_column("kB for the split", justify="right")
    for name, bits in (("nima", model_bits), ("xz -9", xz_bits)):
        found.add_row(name, f"{bits:.3f}", f"{bits * text_bytes / 8000:.1f}")
    return found


def main() -> int:
    """Measure both, print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare a checkpoint's bits per byte with those of `xz -9`.")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory or a checkpoint")
    parser.add_argument("data", type=Path, metavar="DATA", help="the prepared dataset it was trained on")
    parser.add_argument("--json", type=Path, help="where to write both figures")
    parser.add_argument("--split", default="val", choices=("train", "val", "test"))
    arguments = parser.parse_args()
    try:
        text = split_text(arguments.data, arguments.split)
        result = evaluate(arguments.run, arguments.data, arguments.split)
    except NimaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError:
        return 2
    if result["bytes"] != len(text):
        print(f"error: the model was measured on {result['bytes']} bytes of the {len(text)}", file=sys.stderr)
        return 2
    xz_bits = 8 * len(lzma.compress(text, preset=9)) / len(text)
    model_bits = float(result["bits_per_byte"])
    Console().print(table(model_bits, xz_bits, text_bytes=len(text), split=arguments.split))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"nima": model_bits, "xz -9": xz_bits, "bytes": len(text)}))
    return 0 if model_bits < xz_bits else 1


if __name__ == "__main__":
    raise SystemExit(main())
