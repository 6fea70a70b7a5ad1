"""Hugging Face's Trainer with its GPT-2, in bfloat16 and compiled if asked."""

import tempfile
from typing import Any

import torch
from shapes import SHAPES, Windows, arguments, synchronize
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments
from turns import Turns


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """As many windows as anybody asks for."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def __len__(self) -> int:
        return 10**7

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        inputs, _ = self._windows.draw(1)
        return {"input_ids": inputs[0], "labels": inputs[0]}


class InTurns(TrainerCallback):  # type: ignore[misc]
    """Waits for its turn before every so many steps."""

    def __init__(self, turns: Turns, steps: int, device: str) -> None:
        self._turns, self._steps, self._device = turns, steps, device

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._steps == 0:
            synchronize(self._device)
            self._turns.begin()


def main() -> None:
    """Train until there are no more turns."""
    parser = arguments()
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    turns = Turns()
    sizes = SHAPES[asked.shape]
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=asked.vocabulary, n_positions=sizes.context, n_embd=sizes.width, n_layer=sizes.layers,
            n_head=sizes.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
        )
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        told = TrainingArguments(
            folder, use_cpu=asked.device == "cpu", bf16=asked.bf16, torch_compile=asked.compile, max_steps=10**6,
            per_device_train_batch_size=asked.micro_batch, gradient_accumulation_steps=asked.rows // asked.micro_batch,
            save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True, learning_rate=1e-3,
        )  # fmt: skip
        windows = Windows(asked.data, sizes.context)
        Trainer(model, told, train_dataset=Rows(windows), callbacks=[InTurns(turns, asked.steps, asked.device)]).train()


if __name__ == "__main__":
    main()
