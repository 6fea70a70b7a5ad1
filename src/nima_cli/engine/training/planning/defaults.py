"""Chooses what a config leaves open from the sizes of data, model and run; docs/performance.md has the measurements."""

import math
from typing import Any

from nima_cli.config.schema import Config, TrainingConfig
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.training.optim import EMBEDDING_LR_FACTOR
from nima_cli.engine.training.planning.tuning import tuning_defaults
from nima_cli.errors import ConfigError

# Tokens for each parameter beyond which a larger model makes better use of the same work (Hoffmann, 2203.15556).
_COMPUTE_OPTIMAL = 20.0
_MOST_EPOCHS = 5.0  # the most that were tried; by then the train loss is far below that of validation
# Where rate and batch were tuned; wider models and longer runs want a lower rate, longer runs a larger batch.
_TUNED_RATE, _TUNED_WIDTH, _TUNED_TOKENS, _TUNED_BATCH = 0.01, 256, 400_000, 2048
_RATE_EXPONENT, _BATCH_EXPONENT = 1 / 8, 1 / 3
_LARGEST_BATCH = 16_384  # tokens of a step: what the larger presets take; 8,192 is the most that was tuned with
_ADAMW_SHARE = 0.3  # of Muon's rate, on the same scale
# By which factor, as a power of e, weight decay would shrink a matrix over a run of up to two epochs at the peak rate.
_TOTAL_DECAY = 1.5
_LARGEST_DECAY, _ADAMW_DECAY = 1.0, 0.1
# The same of embeddings in an epoch, for each that the run makes beyond the first; and the fewest steps that may take.
_EMBEDDING_DECAY, _EMBEDDING_STEPS = 0.9, 90


def resolve_defaults(config: Config, shape: ModelShape, *, train_tokens: int) -> Config:
    """The config with sequence length, epochs, batch, learning rate and weight decay chosen where they are open.

    Raises:
        ConfigError: the wanted sequences are longer than the model's context.
    """
    wanted = config.training.sequence_length
    if wanted is not None and wanted > shape.context_length:
        raise ConfigError(
            f"`training.sequence_length` {wanted} is more than the {shape.context_length} tokens of the model's context"
        )
    defaults = tuning_defaults if config.model.pretrained is not None else _scratch_defaults
    chosen = defaults(config, shape, train_tokens=train_tokens)
    return config.model_copy(update={"training": config.training.model_copy(update=chosen)})


def _scratch_defaults(config: Config, shape: ModelShape, *, train_tokens: int) -> dict[str, Any]:
    """Values of `training` for a model from random weights."""
    training = config.training
    length = training.sequence_length or shape.context_length
    epochs = training.epochs if training.epochs is not None else epochs_for(train_tokens, shape.parameters())
    wanted = epochs * train_tokens
    batch = training.batch_size or batch_for(training, length, wanted)
    tokens = _tokens(training, batch, length, wanted)
    rate = training.learning_rate or max(training.min_lr, rate_for(training.optimizer, shape.d_model, tokens))
    decay, embedding_decay = training.weight_decay, training.embedding_weight_decay
    steps = tokens / (batch * training.gradient_accumulation_steps * length)
    passes, muon = tokens / max(1, train_tokens), training.optimizer == "muon"
    if decay is None:
        decay = decay_for(rate * steps, passes) if muon else _ADAMW_DECAY
    if embedding_decay is None:
        embedding_decay = embedding_decay_for(rate, steps, passes) if muon else decay
    return {
        "sequence_length": length,
        "epochs": epochs,
        "batch_size": batch,
        "learning_rate": rate,
        "weight_decay": decay,
        "embedding_weight_decay": embedding_decay,
    }


def epochs_for(train_tokens: int, parameters: int) -> float:
    """Passes over the text, in halves: the geometric mean of one and of as many as `_COMPUTE_OPTIMAL` asks for.

    Each further pass teaches less than the one before, and costs as much.
    """
    wanted = math.sqrt(_COMPUTE_OPTIMAL * parameters / max(1, train_tokens))
    return round(2 * min(_MOST_EPOCHS, max(1.0, wanted))) / 2


def batch_for(training: TrainingConfig, context_length: int, wanted: float) -> int:
    """Sequences of a forward pass in a run of `wanted` tokens; `max_steps` may end it before.

    The tokens of a step grow with those of the run, by powers of two: the fewest that suit it.
    """
    batch = max(1, _TUNED_BATCH // (context_length * training.gradient_accumulation_steps))
    while True:
        tokens_per_step = batch * training.gradient_accumulation_steps * context_length
        tokens = _tokens(training, batch, context_length, wanted)
        suitable = _TUNED_BATCH * (tokens / _TUNED_TOKENS) ** _BATCH_EXPONENT
        if math.sqrt(2) * tokens_per_step >= min(suitable, _LARGEST_BATCH):
            return batch
        batch *= 2


def rate_for(optimizer: str, width: int, tokens: float) -> float:
    """Peak learning rate, to two digits, for a model of this width that learns from so many tokens."""
    peak = _TUNED_RATE * (1.0 if optimizer == "muon" else _ADAMW_SHARE)
    longer = max(1.0, tokens / _TUNED_TOKENS)
    return float(f"{peak * math.sqrt(_TUNED_WIDTH / width) * longer**-_RATE_EXPONENT:.2g}")


def decay_for(rates: float, epochs: float) -> float:
    """Weight decay of Muon's matrices, to two digits, when every step takes the peak and `rates` is the sum.

    What counts is the decay times the sum of the learning rates (Wang and Aitchison, 2405.13698). Each pass beyond the
    second adds to it, against learning by heart.
    """
    wanted = _TOTAL_DECAY * max(1.0, epochs - 1.0) / max(rates, 1e-9)
    return float(f"{min(_LARGEST_DECAY, wanted):.2g}")


def embedding_decay_for(rate: float, steps: float, epochs: float) -> float:
    """Weight decay of embeddings and head beside Muon, to two digits; 0 where no text is read twice.

    Without it their rows and so the logits grow: the model is as sure of errors as of what it has learnt by heart.
    """
    pace = min(_EMBEDDING_DECAY * max(0.0, epochs - 1.0) * epochs / max(steps, 1e-9), 1.0 / _EMBEDDING_STEPS)
    return float(f"{min(_LARGEST_DECAY, pace / max(rate * EMBEDDING_LR_FACTOR, 1e-9)):.2g}")


def _tokens(training: TrainingConfig, batch: int, context_length: int, wanted: float) -> float:
    """Tokens that the run learns from: `max_steps` may end it before `wanted`."""
    most = (training.max_steps or math.inf) * batch * training.gradient_accumulation_steps * context_length
    return min(wanted, most)
