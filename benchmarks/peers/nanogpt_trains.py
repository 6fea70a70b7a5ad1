"""nanoGPT's model and optimizer in the loop of its train.py, on a CPU: float32, unfused AdamW, compiled if asked."""

import sys
from pathlib import Path
from typing import Any

import torch
from shapes import SHAPES, Windows, arguments
from turns import Turns


def build(folder: Path, shape: str, vocabulary: int, *, dropout: float = 0.0) -> Any:
    """The model of nanoGPT's checkout in `folder`."""
    sys.path.insert(0, str(folder))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    sizes = SHAPES[shape]
    return GPT(
        GPTConfig(
            block_size=sizes.context, vocab_size=vocabulary, n_layer=sizes.layers, n_head=sizes.heads,
            n_embd=sizes.width, dropout=dropout, bias=False,
        )
    )  # fmt: skip


def main() -> None:
    """Train until there are no more turns."""
    parser = arguments()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    turns = Turns()
    model = build(asked.folder, asked.shape, asked.vocabulary)
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    run = torch.compile(model) if asked.compile else model
    windows = Windows(asked.data, SHAPES[asked.shape].context)
    pieces = asked.rows // asked.micro_batch

    def steps() -> None:
        for _ in range(asked.steps):
            for _ in range(pieces):
                inputs, targets = windows.draw(asked.micro_batch)
                _, loss = run(inputs, targets)
                (loss / pieces).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    turns.take(steps)


if __name__ == "__main__":
    main()
