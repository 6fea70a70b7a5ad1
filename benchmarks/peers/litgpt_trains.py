"""litgpt's GPT with the optimizer, loss and precision of its pretraining loop; compiled as there, if asked."""

import sys
from pathlib import Path

import torch
from shapes import SHAPES, Windows, arguments, synchronize
from turns import Turns


def main() -> None:
    """Train until there are no more turns."""
    parser = arguments()
    parser.add_argument("--folder", type=Path, required=True, help="where pip put it and what it needs")
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    turns = Turns()
    sys.path.append(str(asked.folder))  # last, so that everything else is what nima runs with
    from lightning.fabric import Fabric  # type: ignore[import-not-found]
    from litgpt.config import Config  # type: ignore[import-not-found]
    from litgpt.model import GPT  # type: ignore[import-not-found]
    from litgpt.utils import chunked_cross_entropy  # type: ignore[import-not-found]

    sizes = SHAPES[asked.shape]
    fabric = Fabric(accelerator=asked.device, devices=1, precision="bf16-mixed")
    model = GPT(
        Config(
            block_size=sizes.context, n_layer=sizes.layers, n_embd=sizes.width, n_head=sizes.heads, bias=False,
            padded_vocab_size=asked.vocabulary,
        )
    )  # fmt: skip
    model = fabric.setup(torch.compile(model) if asked.compile else model)
    fused = {"fused": True} if asked.device == "cuda" else {}
    optimizer = fabric.setup_optimizers(
        torch.optim.AdamW(model.parameters(), lr=4e-4, weight_decay=0.1, betas=(0.9, 0.95), **fused)
    )
    windows = Windows(asked.data, sizes.context)
    pieces = asked.rows // asked.micro_batch

    def steps() -> None:
        for _ in range(asked.steps):
            for piece in range(pieces):
                inputs, targets = (part.to(asked.device) for part in windows.draw(asked.micro_batch))
                with fabric.no_backward_sync(model, enabled=piece + 1 < pieces):
                    fabric.backward(chunked_cross_entropy(model(inputs), targets) / pieces)
            fabric.clip_gradients(model, optimizer, max_norm=1.0)
            optimizer.step()
            optimizer.zero_grad()
        synchronize(asked.device)

    turns.take(steps)


if __name__ == "__main__":
    main()
