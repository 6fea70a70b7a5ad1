"""Trains a small GPT on your documents with nima's engine alone: no trainer, no command, no event handler.

    python examples/minimal_train.py docs --steps 200

Every stage is in sight: documents become token ids, a step learns from a batch, a checkpoint is saved and loaded, and
the model continues a text. `nima train` does the same, and evaluates, resumes, stops early and compiles kernels.
"""

import argparse
from pathlib import Path

import torch

from nima_cli.config.load import load_config
from nima_cli.engine import (
    GPT,
    Checkpoint,
    DataSource,
    Optimizer,
    SamplingParams,
    TextGenerator,
    linear_cross_entropy,
    load_for_inference,
    make_run_spec,
    open_dataset,
    prepare,
    save_checkpoint,
)

SHAPE = ("model.preset=null", "model.n_layers=2", "model.d_model=128", "model.n_heads=4", "model.context_length=128")


def train(data: Path, checkpoint: Path, steps: int) -> None:
    """Train on a prepared dataset and save the result."""
    dataset = open_dataset(data)
    settings = load_config(set_=[*SHAPE, f"training.max_steps={steps}"], environ={}).config
    spec = make_run_spec(settings, dataset)  # the settings with every number chosen, the model's shape, the plan
    training, plan = spec.config.training, spec.plan
    print(f"{spec.shape.parameters():,} parameters, {dataset.split('train').tokens:,} tokens to learn from")

    model = GPT(spec.shape)  # float32, plain torch
    model.init_weights(training.seed)
    optimizer = Optimizer(model, training)
    split, finite = dataset.split("train"), torch.zeros(())
    for step in range(plan.total_steps):
        # Which sequences a step learns from follows from its number, so there is nothing to remember.
        numbers = range(step * plan.batch_size, (step + 1) * plan.batch_size)
        batch = split.batch(numbers, context_length=plan.context_length, seed=training.seed)
        hidden_BTC = model.hidden(batch.inputs_BT)
        targets_N = batch.targets_BT.flatten()
        loss_sum = linear_cross_entropy(hidden_BTC.flatten(0, 1), model.head_weight_VC, targets_N)
        loss = loss_sum / max(1, int((targets_N >= 0).sum()))  # nats per token; -100 marks what carries no loss
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(plan.schedule(step + 1), finite)
        if step % 20 == 0 or step == plan.total_steps - 1:
            print(f"step {step + 1:4d}  loss {loss.item():.3f}")

    weights, header = dict(model.state_dict()), {"step": plan.total_steps}
    save_checkpoint(checkpoint, Checkpoint(spec.shape, weights, dataset.tokenizer.proto, header))


def write(checkpoint: Path, prompt: str) -> None:
    """Load the checkpoint, which needs nothing beside it, and let it continue a text."""
    model, tokenizer, _ = load_for_inference(checkpoint)
    writer = TextGenerator(model, tokenizer)
    ids = writer.encode_prompt(prompt)
    print(prompt, end="")
    for piece in writer.stream(ids, sampling=SamplingParams(temperature=0.7), max_new_tokens=60, seed=1):
        print(piece, end="", flush=True)
    print()


def main() -> None:
    """Prepare, train, save, load, write."""
    parser = argparse.ArgumentParser(description="Train a small GPT on a folder of documents.")
    parser.add_argument("documents")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output-dir", type=Path, default=Path("minimal"))
    parser.add_argument("--prompt", default="The ")
    options = parser.parse_args()
    data, checkpoint = options.output_dir / "data", options.output_dir / "checkpoint.pt"
    for _ in prepare([DataSource(options.documents)], data, overwrite=True, workers=1):
        pass  # each event says what was read, dropped or written
    train(data, checkpoint, options.steps)
    write(checkpoint, options.prompt)


if __name__ == "__main__":
    main()
