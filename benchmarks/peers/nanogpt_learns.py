"""nanoGPT's model and AdamW, with the warm-up, cosine and clipping of its train.py: one run of so many tokens."""

import contextlib
import math
import time
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from measuring import Learnt, bits_per_byte, learner_arguments
from nanogpt_trains import build
from shapes import SHAPES, Windows

from nima_cli.engine.data.store.dataset import open_dataset


def rate(step: int, steps: int, peak: float) -> float:
    """Learning rate of a step, counted from 0: a tenth of the run warms up, at most 100; then a cosine to a tenth."""
    warmup = min(100, steps // 10)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    passed = (step - warmup) / max(1, steps - warmup)
    return peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * passed)))


def main() -> None:
    """Train, and write what came of it."""
    parser = learner_arguments()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tokens-per-step", type=int, default=4096)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    asked = parser.parse_args()
    dataset, context, found = open_dataset(asked.data), SHAPES[asked.shape].context, Learnt()
    torch.manual_seed(asked.seed)
    model = build(asked.folder, asked.shape, dataset.tokenizer.vocab_size, dropout=asked.dropout)
    optimizer = model.configure_optimizers(asked.weight_decay, asked.learning_rate, (0.9, 0.95), "cpu")
    run = torch.compile(model) if asked.compile else model
    windows = Windows(asked.data, context, seed=asked.seed)
    steps = max(1, round(asked.tokens / asked.tokens_per_step))
    due = {max(1, round(steps * (n + 1) / asked.evaluations)) for n in range(asked.evaluations)}

    def precision() -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16) if asked.bf16 else contextlib.nullcontext()

    def logits_of(inputs_BT: torch.Tensor) -> torch.Tensor:
        with precision():
            logits: torch.Tensor = model(inputs_BT, inputs_BT)[0]
        return logits

    found.begin(asked.started)
    for step in range(steps):
        began, worked = time.perf_counter(), time.process_time()
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, asked.learning_rate)
        inputs, targets = windows.draw(asked.tokens_per_step // context)
        with precision():
            _, loss = run(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found.steps.append(time.perf_counter() - began)
        found.processor += time.process_time() - worked
        if step + 1 in due:
            model.eval()
            found.evaluated((step + 1) * asked.tokens_per_step, bits_per_byte(logits_of, dataset, context))
            model.train()
    found.write(asked.out)


if __name__ == "__main__":
    main()
