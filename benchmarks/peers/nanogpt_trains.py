"""nanoGPT's model and optimizer in the loop of its train.py, compiled if asked.

On a CPU in float32 with the unfused AdamW, as its README has it; on a GPU in bfloat16 with the fused one.
"""

import contextlib
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from shapes import SHAPES, Windows, arguments, synchronize
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
    model = build(asked.folder, asked.shape, asked.vocabulary).to(asked.device)
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), asked.device)
    run = torch.compile(model) if asked.compile else model
    windows = Windows(asked.data, SHAPES[asked.shape].context)
    pieces = asked.rows // asked.micro_batch

    def precision() -> AbstractContextManager[object]:
        return torch.autocast("cuda", torch.bfloat16) if asked.device == "cuda" else contextlib.nullcontext()

    def steps() -> None:
        for _ in range(asked.steps):
            for _ in range(pieces):
                inputs, targets = (part.to(asked.device) for part in windows.draw(asked.micro_batch))
                with precision():
                    _, loss = run(inputs, targets)
                (loss / pieces).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        synchronize(asked.device)

    turns.take(steps)


if __name__ == "__main__":
    main()
