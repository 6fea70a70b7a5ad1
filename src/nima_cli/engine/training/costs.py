"""What a run needs in memory and on disk, by arithmetic; knows no device and no data."""

from nima_cli.config.schema import Config
from nima_cli.engine.model.blocked_attention import kept_numbers
from nima_cli.engine.model.shape import ModelShape


def optimizer_bytes(shape: ModelShape, config: Config) -> int:
    """AdamW keeps two float32 numbers per parameter, Muon one for each of its matrices."""
    total = shape.parameters()
    if config.training.optimizer == "adamw":
        return 8 * total
    matrices = sum(
        size[0] * size[1] for name, size in shape.tensors().items() if len(size) == 2 and name.startswith("layers.")
    )
    return 4 * matrices + 8 * (total - matrices)


def ema_bytes(shape: ModelShape, config: Config) -> int:
    """The averaged weights, in float32, where the run keeps them."""
    return 4 * shape.parameters() if config.training.ema_decay is not None else 0


def checkpoint_bytes(shape: ModelShape, config: Config) -> int:
    """Size of one resumable checkpoint: float32 weights, their average, and the optimizer."""
    return 4 * shape.parameters() + ema_bytes(shape, config) + optimizer_bytes(shape, config)


def memory_bytes(shape: ModelShape, config: Config, *, bytes_per_number: int, on_cpu: bool) -> int:
    """Weights and gradients in float32, the optimizer, and what the forward pass keeps for the backward pass.

    Per layer and position it keeps about 16 vectors of the model's width and 4 of the MLP's, on a CPU also what each
    head paid attention to, and in the loss two float32 rows of the vocabulary for one chunk.
    """
    numbers = shape.context_length * (16 * shape.d_model + 4 * shape.d_ff)
    if on_cpu:
        numbers += shape.n_heads * kept_numbers(shape.context_length)
    assert config.training.batch_size is not None
    activations = config.training.batch_size * shape.n_layers * numbers * bytes_per_number
    head = 4 * shape.vocab_size * shape.d_model + 2 * 4 * 512 * shape.vocab_size
    return 8 * shape.parameters() + ema_bytes(shape, config) + optimizer_bytes(shape, config) + activations + head
