"""Small models and checkpoints for the tests of the engine; every weight is random, so that nothing is the identity."""

from pathlib import Path
from typing import Any

import torch

from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape

SMALL: dict[str, Any] = {
    "vocab_size": 97, "n_layers": 2, "d_model": 32, "n_heads": 4, "n_kv_heads": 4, "d_ff": 48, "context_length": 24,
    "qk_norm": True, "tie_embeddings": True, "rope_theta": 10000.0,
}  # fmt: skip


def small_shape(**changes: Any) -> ModelShape:
    """A shape of two narrow layers, with changes."""
    values = {**SMALL, **changes}
    return ModelShape(**{"head_dim": values["d_model"] // values["n_heads"], **values})


def random_model(
    shape: ModelShape, *, seed: int = 0, dropout: float = 0.0, compute_dtype: torch.dtype = torch.float32
) -> GPT:
    """A model whose every tensor, also those that start at zero or one, is random."""
    model = GPT(shape, dropout=dropout, compute_dtype=compute_dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1.0 + 0.2 * noise if "norm" in name else noise / parameter.shape[-1] ** 0.5)
    return model.eval()


def own_tokenizer(dataset: Path) -> SentencePieceTokenizer:
    """The tokenizer that was trained for a dataset."""
    tokenizer = load_tokenizer(dataset)
    assert isinstance(tokenizer, SentencePieceTokenizer)
    return tokenizer


def small_checkpoint(tokenizer: Tokenizer, *, seed: int = 0, **changes: Any) -> Checkpoint:
    """A checkpoint as training writes it: weights, tokenizer, facts, and an optimizer's state."""
    shape = small_shape(**{"vocab_size": tokenizer.vocab_size, **changes})
    model = random_model(shape, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    return Checkpoint(
        shape=shape,
        model=dict(model.state_dict()),
        tokenizer_proto=tokenizer.proto,
        header={"step": 7, "epoch": 0.5, "best": {"value": 1.5, "loss": 1.5, "step": 7, "waited": 0}, "config": {}},
        optimizer={
            name: {"momentum": torch.randn(size, generator=generator), "step": torch.tensor(7.0)}
            for name, size in shape.tensors().items()
        },
    )
