"""What is chosen for tuning a pretrained model."""

import pytest

from nima_cli.config.schema import Config
from nima_cli.engine.model.shape import ModelShape, resolve
from nima_cli.engine.training.planning.defaults import resolve_defaults
from nima_cli.engine.training.planning.tuning import epochs_for
from nima_cli.errors import ConfigError

SHAPE = {"preset": None, "pretrained": "small", "n_layers": 2, "d_model": 576, "n_heads": 9, "context_length": 8192}


def filled(tokens: int = 1_000_000, model: dict[str, object] | None = None, **training: object) -> Config:
    config = Config.model_validate({"model": {**SHAPE, **(model or {})}, "training": training})
    return resolve_defaults(config, shape_of(config), train_tokens=tokens)


def shape_of(config: Config) -> ModelShape:
    return resolve(config.model, 1000)


def test_what_is_said_is_kept_and_the_rest_is_chosen() -> None:
    found = filled(learning_rate=0.5, epochs=9.0).training
    assert (found.learning_rate, found.epochs) == (0.5, 9.0)
    assert (found.sequence_length, found.batch_size, found.weight_decay) == (512, 8, 0.0)
    again = resolve_defaults(filled(), shape_of(filled()), train_tokens=10)
    assert again == filled(), "a filled config comes back as it is"


def test_a_step_has_as_many_tokens_whatever_the_sequences_and_micro_batches() -> None:
    for length, accumulation in ((512, 1), (512, 4), (1024, 2), (256, 1)):
        found = filled(sequence_length=length, gradient_accumulation_steps=accumulation).training
        assert found.batch_size is not None
        assert found.batch_size * length * accumulation == 4096


def test_a_short_context_is_used_whole() -> None:
    assert filled(model={"context_length": 128}).training.sequence_length == 128


def test_sequences_longer_than_the_context_are_refused() -> None:
    with pytest.raises(ConfigError, match="8193 is more than the 8192 tokens"):
        filled(sequence_length=8193)


def test_wider_models_learn_more_slowly_and_adapters_faster() -> None:
    rates = [filled(model={"d_model": 576 * k}).training.learning_rate or 0 for k in (1, 2, 4)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 2 * rates[2]
    assert (filled(lora={"enabled": True}).training.learning_rate or 0) > 3 * rates[0]


def test_less_text_is_read_more_often() -> None:
    assert [epochs_for(count) for count in (10**4, 10**5, 4 * 10**5, 10**6, 10**8)] == [3.0, 3.0, 1.5, 1.0, 1.0]
