"""Chooses what a config leaves open where a pretrained model is tuned; docs/pretrained.md has the measurements."""

import math
from typing import Any

from nima_cli.config.schema import Config
from nima_cli.engine.checkpoint.file import TUNING_LENGTH
from nima_cli.engine.model.shape import ModelShape

_TOKENS_PER_STEP = 4096
# Where the rates were tuned: SmolLM2-135M on 0.1 to 1.2 million tokens. Wider models want lower ones.
_FULL_RATE, _LORA_RATE, _WIDTH = 3e-4, 2e-3, 576
_ONCE, _MOST_EPOCHS = 1_000_000, 3.0  # tokens that are read once; less text is read more often


def tuning_defaults(config: Config, shape: ModelShape, *, train_tokens: int) -> dict[str, Any]:
    """Values of `training` for the keys that are open."""
    training = config.training
    length = training.sequence_length or min(shape.context_length, TUNING_LENGTH)
    peak = (_LORA_RATE if training.lora.enabled else _FULL_RATE) * math.sqrt(_WIDTH / shape.d_model)
    chosen = {
        "sequence_length": length,
        "epochs": epochs_for(train_tokens),
        "batch_size": max(1, _TOKENS_PER_STEP // (length * training.gradient_accumulation_steps)),
        "learning_rate": max(training.min_lr, float(f"{peak:.2g}")),
        "weight_decay": 0.0,  # pulls towards zero, not towards what the model knew
        "embedding_weight_decay": 0.0,
    }
    return {key: value for key, value in chosen.items() if getattr(training, key) is None}


def epochs_for(train_tokens: int) -> float:
    """Passes over the text, in halves: it is learnt by heart after a few."""
    return round(2 * min(_MOST_EPOCHS, max(1.0, math.sqrt(_ONCE / max(1, train_tokens))))) / 2
