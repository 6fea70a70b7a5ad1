"""Trains a small GPT on your documents with nima's engine alone: no configuration, no trainer, no command.

    python examples/minimal_train.py docs --steps 200

Every stage is in sight: documents become token ids, a step learns from a batch, a checkpoint is saved and loaded, and
the model continues a text. `nima train` does the same, and evaluates, resumes, stops early and compiles kernels.
"""

import argparse
from pathlib import Path

import torch

from nima_cli.engine import (
    GPT,
    Checkpoint,
    DataSource,
    ModelShape,
    Optimizer,
    Sampling,
    TextGenerator,
    linear_cross_entropy,
    load_for_inference,
    open_dataset,
    prepare,
    save_checkpoint,
)
from nima_cli.engine.data.store.dataset import PreparedDataset

CONTEXT, BATCH, PEAK_RATE, SEED = 128, 8, 0.01, 42


def make_model(vocab_size: int) -> GPT:
    """A GPT of about a million parameters, with random weights."""
    shape = ModelShape(
        vocab_size=vocab_size,
        n_layers=2,
        d_model=128,
        n_heads=4,
        n_kv_heads=4,
        d_ff=384,
        context_length=CONTEXT,
        qk_norm=True,
        tie_embeddings=True,
    )
    model = GPT(shape)
    model.init_weights(SEED)
    return model


def train(model: GPT, dataset: PreparedDataset, steps: int) -> Optimizer:
    """Take `steps` optimizer steps; which sequences each learns from follows from its number."""
    split = dataset.split("train")
    optimizer = Optimizer(model, kind="muon", weight_decay=0.1, embedding_weight_decay=0.0)
    finite = torch.zeros(())  # 1 would make the optimizer skip the step
    for step in range(steps):
        batch = split.batch(range(step * BATCH, (step + 1) * BATCH), context_length=CONTEXT, seed=SEED)
        hidden_BTC = model.hidden(batch.inputs_BT)
        targets_N = batch.targets_BT.flatten()
        loss_sum = linear_cross_entropy(hidden_BTC.flatten(0, 1), model.head_weight_VC, targets_N)
        loss = loss_sum / batch.targets_BT.numel()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(PEAK_RATE * min(1.0, (steps - step) / steps * 2), finite)
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step + 1:4d}  loss {loss.item():.3f}")
    return optimizer


def main() -> None:
    """Prepare, train, save, load, write."""
    parser = argparse.ArgumentParser(description="Train a small GPT on a folder of documents.")
    parser.add_argument("documents")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output-dir", type=Path, default=Path("minimal"))
    parser.add_argument("--prompt", default="The ")
    options = parser.parse_args()

    data = options.output_dir / "data"
    for _ in prepare([DataSource(options.documents)], data, overwrite=True, workers=1):
        pass  # each event says what was read, dropped and written
    dataset = open_dataset(data)
    model = make_model(dataset.tokenizer.vocab_size)
    print(f"{model.shape.parameters():,} parameters, {dataset.split('train').tokens:,} tokens to learn from")
    train(model, dataset, options.steps)

    path = options.output_dir / "checkpoint.pt"
    weights, header = dict(model.state_dict()), {"step": options.steps}
    save_checkpoint(path, Checkpoint(model.shape, weights, dataset.tokenizer.proto, header))
    model, tokenizer, _ = load_for_inference(path)
    writer = TextGenerator(model, tokenizer)
    ids = writer.encode_prompt(options.prompt)
    print(options.prompt, end="")
    for piece in writer.stream(ids, sampling=Sampling(temperature=0.7), max_new_tokens=60, seed=SEED):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
