"""Trains the same small model with different tokenizers at equal compute, and compares their bits per byte.

    python benchmarks/tokenizer_settings.py docs
    python benchmarks/tokenizer_settings.py --rows bpe-2048 bpe-8192 --json found.json docs

The sources are prepared once as nima would by itself. Each row then trains a tokenizer of its own on that train split,
prepares the same documents with it, trains gpt-tiny, and is measured on the whole validation split, which holds the
same bytes in every row. The compute is that of `--epochs` passes with the tokenizer that nima chose: a row with a
larger vocabulary pays for its larger output matrix with fewer steps, one with shorter pieces sees less text. The piece
rules and kinds are compared at one vocabulary, given by `--vocab-size`. With OMP_NUM_THREADS=1 it stays on one core.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from readable_view import read_view
from rich.console import Console
from rich.table import Table

from nima_cli import __version__
from nima_cli.cli.compiled import compiled
from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.config.schema import PRESETS, Config
from nima_cli.engine import SentencePieceTokenizer, Trainer, make_run_spec, open_dataset, pick_device, prepare
from nima_cli.engine.data.store.dataset import PreparedDataset
from nima_cli.engine.kernels.trust import trusted_kernels
from nima_cli.engine.model.shape import resolve
from nima_cli.engine.training.loss import linear_cross_entropy
from nima_cli.errors import NimaError
from nima_cli.events import EvalDone

_VOCAB_SIZES = (1024, 2048, 4096, 8192, 12288)
# gpt-tiny's own batch would leave a short run very few steps.
_ROWS_PER_STEP = 2


@dataclass(frozen=True, slots=True)
class Setting:
    """One tokenizer to try."""

    kind: str
    vocab_size: int
    options: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one tokenizer.

    Attributes:
        vocab_size: as trained; less than asked where the text has no more pieces.
        bytes_per_token: of the train split.
        epochs: passes over the train split.
        seconds: of training, evaluation left out.
    """

    name: str
    vocab_size: int
    bytes_per_token: float
    steps: int
    epochs: float
    seconds: float
    bits_per_byte: float
    val_bytes: int


def settings(vocab_size: int) -> dict[str, Setting]:
    """All rows by name; the ones that are not about the vocabulary's size have `vocab_size` tokens."""
    rows = {f"bpe-{size}": Setting("bpe", size) for size in _VOCAB_SIZES}
    rows["no-runs-of-spaces"] = Setting("bpe", vocab_size, {"allow_whitespace_only_pieces": False})
    rows["whole-numbers"] = Setting("bpe", vocab_size, {"split_digits": False})
    rows["neither"] = Setting("bpe", vocab_size, {"allow_whitespace_only_pieces": False, "split_digits": False})
    rows["unigram"] = Setting("unigram", vocab_size)
    rows["char"] = Setting("char", vocab_size)
    return rows


def prepared(sources: Sequence[str], folder: Path, tokenizer: Path | None) -> PreparedDataset:
    """The dataset in `folder`; without headings repeated, so that every tokenizer is measured on the same bytes."""
    config = DataConfig(
        sources=[SourceConfig(path=source) for source in sources],
        tokenizer_from=str(tokenizer) if tokenizer else None,
        val_ratio=0.15,
        heading_context=False,
    )
    for _ in prepare(config, folder, overwrite=False, workers=1):
        pass
    return open_dataset(folder)


def train_texts(folder: Path) -> list[str]:
    """Every text of the train split, in the dataset's order."""
    entries = read_view((folder / "train.txt").read_bytes().decode("utf-8"))
    return [text for entry in entries for text in (entry.text, *(turn.content for turn in entry.turns)) if text]


def flops_per_token(vocab_size: int) -> int:
    """Of gpt-tiny with this vocabulary."""
    return resolve(_config(1, 0).model, vocab_size).flops_per_token()


def measure(
    name: str, tokenizer: SentencePieceTokenizer, sources: Sequence[str], work: Path, *, flops: float, seed: int
) -> Found:
    """Prepare, train and evaluate with one tokenizer."""
    model = work / f"{name}.model"
    model.write_bytes(tokenizer.proto)
    dataset = prepared(sources, work / f"{name}-data", model)
    context = PRESETS["gpt-tiny"]["model"]["context_length"]
    steps = max(1, round(flops / flops_per_token(tokenizer.vocab_size) / (_ROWS_PER_STEP * context)))
    config = _config(steps, seed)
    run_dir = work / f"{name}-run"
    run_dir.mkdir()
    device = pick_device("cpu", config.training.use_mixed_precision)
    kernels = trusted_kernels(device, config, compiled(), linear_cross_entropy).kernels
    trainer = Trainer(make_run_spec(config, dataset), dataset, run_dir, device, kernels=kernels)
    done = [event for event in trainer.run() if isinstance(event, EvalDone)][-1]
    train, val = (dataset.metadata["splits"][split] for split in ("train", "val"))
    return Found(
        name=name,
        vocab_size=tokenizer.vocab_size,
        bytes_per_token=train["bytes"] / train["tokens"],
        steps=steps,
        epochs=trainer.plan.total_epochs,
        seconds=done.train_seconds,
        bits_per_byte=done.bits_per_byte,
        val_bytes=val["bytes"],
    )


def _config(steps: int, seed: int) -> Config:
    preset = PRESETS["gpt-tiny"]
    training = {
        **preset["training"],
        "batch_size": _ROWS_PER_STEP,
        "epochs": 10000,
        "max_steps": steps,
        "eval_steps": steps,
        "seed": seed,
        "early_stopping": {"enabled": False},
    }
    evaluation = {"max_tokens": None, "generation": {"enabled": False}}
    return Config.model_validate({"model": preset["model"], "training": training, "evaluation": evaluation})


def table(found: Sequence[Found], title: str) -> Table:
    """All rows, with their distance from the best one."""
    best = min(row.bits_per_byte for row in found)
    shown = Table(title=title)
    shown.add_column("row", no_wrap=True)
    for column in ("tokens", "bytes\na token", "steps", "epochs", "seconds", "bits\nper byte", "over\nbest"):
        shown.add_column(column, justify="right")
    for row in found:
        over = f"{100 * (row.bits_per_byte / best - 1):.1f} %"
        sizes = f"{row.vocab_size:,}", f"{row.bytes_per_token:.2f}", f"{row.steps:,}", f"{row.epochs:.2f}"
        shown.add_row(row.name, *sizes, f"{row.seconds:.0f}", f"{row.bits_per_byte:.4f}", over)
    return shown


def compare(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Run the rows asked for, telling of each, and show them all."""
    base = prepared(arguments.sources, work / "base", None)
    split, chosen = base.metadata["splits"]["train"], base.tokenizer.vocab_size
    flops = arguments.epochs * split["tokens"] * flops_per_token(chosen)
    title = f"{split['bytes']:,} bytes to train on, {flops:.2e} FLOP a row, nima takes {chosen:,} tokens"
    texts, found = train_texts(work / "base"), list[Found]()
    for name, setting in settings(arguments.vocab_size).items():
        if arguments.rows and name not in arguments.rows:
            continue
        tokenizer = SentencePieceTokenizer.train(
            texts, kind=setting.kind, vocab_size=setting.vocab_size, exact=False, **setting.options
        )
        row = measure(name, tokenizer, arguments.sources, work, flops=flops, seed=arguments.seed)
        print(f"{row.name}: {row.bits_per_byte:.4f} bits per byte after {row.seconds:.0f} s", file=sys.stderr)
        found.append(row)
    if len({row.val_bytes for row in found}) > 1:
        raise SystemExit("error: the rows were measured on different text")
    Console().print(table(found, title))
    facts = {"nima_version": __version__, "sources": arguments.sources, "seed": arguments.seed, "flops": flops}
    return {**facts, "train_bytes": split["bytes"], "chosen": chosen, "rows": [asdict(row) for row in found]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare tokenizers by bits per byte at equal compute.")
    parser.add_argument("sources", nargs="+", metavar="DATA", help="files, folders or globs of documents")
    parser.add_argument("--rows", nargs="+", metavar="ROW", choices=list(settings(0)), help="only these rows")
    parser.add_argument("--vocab-size", type=int, default=4096, help="of the rows about kinds and piece rules")
    parser.add_argument("--epochs", type=float, default=1.0, help="compute of a row, in passes with nima's own choice")
    parser.add_argument("--seed", type=int, default=42, help="of the model and its data order")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            found = compare(arguments, Path(temporary))
        except NimaError as error:
            raise SystemExit(f"error: {error.message}") from None
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
