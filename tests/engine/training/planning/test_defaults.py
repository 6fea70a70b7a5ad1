"""What a config leaves open is chosen from the sizes of data, model and run; what it says is kept."""

from pathlib import Path
from typing import Any

import pytest

from nima_cli.config.schema import PRESETS, Config, ModelConfig
from nima_cli.engine.data.store.dataset import open_dataset
from nima_cli.engine.model.shape import ModelShape, resolve
from nima_cli.engine.training.optim import EMBEDDING_LR_FACTOR
from nima_cli.engine.training.planning.defaults import epochs_for, rate_for, resolve_defaults
from nima_cli.engine.training.run_spec import make_run_spec
from tests.engine.training.runs import make_config, make_trainer

TOKENS = 1_400_000


def config_of(preset: str = "gpt-tiny", **training: Any) -> Config:
    """A preset with these keys of `training`."""
    sizes = PRESETS[preset]
    model = {"preset": preset, **sizes["model"]}
    return Config.model_validate({"model": model, "training": {**sizes["training"], **training}})


def shape_of(config: Config) -> ModelShape:
    """Of a vocabulary of 8,192."""
    return resolve(config.model, 8192)


def filled(config: Config, tokens: int = TOKENS) -> tuple[float | None, float | None, float | None]:
    """Epochs, learning rate and weight decay that it comes to."""
    found = resolve_defaults(config, shape_of(config), train_tokens=tokens)
    return found.training.epochs, found.training.learning_rate, found.training.weight_decay


def decays(config: Config, tokens: int = TOKENS) -> tuple[float, float]:
    """Weight decay of the blocks' matrices and of the embeddings that it comes to."""
    found = resolve_defaults(config, shape_of(config), train_tokens=tokens).training
    assert found.weight_decay is not None
    assert found.embedding_weight_decay is not None
    return found.weight_decay, found.embedding_weight_decay


def test_what_is_said_is_kept_and_the_rest_is_chosen() -> None:
    config = config_of(epochs=3.0, learning_rate=0.5)
    assert filled(config)[:2] == (3.0, 0.5)
    found = resolve_defaults(config, shape_of(config), train_tokens=TOKENS)
    assert resolve_defaults(found, shape_of(config), train_tokens=10) == found, "a filled config comes back as it is"
    assert found.training.batch_size is not None
    assert found.model == config.model
    open_keys = {"sequence_length", "epochs", "batch_size", "learning_rate", "weight_decay", "embedding_weight_decay"}
    assert found.training.model_dump(exclude=open_keys) == config.training.model_dump(exclude=open_keys)


def test_less_text_for_the_model_is_read_more_often() -> None:
    small, large = 4_600_000, 90_000_000
    tokens = [10**5, 10**6, 10**7, 10**8, 10**9]
    epochs = [epochs_for(count, small) for count in tokens]
    assert epochs == sorted(epochs, reverse=True)
    assert (epochs[0], epochs[-1]) == (5.0, 1.0)
    assert all(epochs_for(count, large) >= few for count, few in zip(tokens, epochs, strict=True))


def test_longer_runs_decay_less_and_those_that_read_again_more() -> None:
    once = [filled(config_of(epochs=1.0), tokens)[2] or 0.0 for tokens in (10**3, 10**5, 10**6, 10**7, 10**8)]
    assert once == sorted(once, reverse=True)
    assert (once[0], once[1]) == (1.0, 1.0)
    assert 0.0 < once[-1] < 0.1
    again = [filled(config_of(epochs=epochs), int(6e6 / epochs))[2] or 0.0 for epochs in (1.0, 2.0, 3.0, 5.0)]
    assert again[0] == again[1] < again[2] < again[3] < 1.0


def test_the_decay_over_a_run_does_not_depend_on_batch_or_rate() -> None:
    for keys in ({}, {"batch_size": 16}, {"learning_rate": 0.02}, {"gradient_accumulation_steps": 8}):
        found = resolve_defaults(config_of(epochs=1.0, **keys), shape_of(config_of()), train_tokens=10**7).training
        assert found.batch_size is not None
        assert found.learning_rate is not None
        assert found.weight_decay is not None
        steps = 10**7 / (found.batch_size * found.gradient_accumulation_steps * 512)
        assert steps * found.learning_rate * found.weight_decay == pytest.approx(1.5, rel=0.06)


def test_adamw_takes_the_usual_weight_decay_and_what_is_said_is_kept() -> None:
    assert decays(config_of(optimizer="adamw")) == (0.1, 0.1)
    assert decays(config_of(optimizer="adamw", weight_decay=0.3)) == (0.3, 0.3)
    for optimizer in ("adamw", "muon"):
        assert decays(config_of(optimizer=optimizer, weight_decay=0.0, embedding_weight_decay=0.2)) == (0.0, 0.2)
    assert decays(config_of(embedding_weight_decay=0.0))[1] == 0.0


def test_embeddings_decay_the_more_the_more_often_text_is_read_again() -> None:
    found = [decays(config_of(epochs=epochs))[1] for epochs in (0.2, 1.0, 1.5, 2.0, 3.0, 5.0)]
    assert found[:2] == [0.0, 0.0]
    assert found[1:] == sorted(found[1:])
    assert 0.0 < found[2] < found[-1] < 1.0
    assert decays(config_of(epochs=8.0, max_steps=100))[1] == 0.0, "what counts is what the run reads"


def test_embeddings_never_forget_within_a_few_steps() -> None:
    for tokens, rows, rate in ((TOKENS, 64, 0.01), (10**4, 4, 0.01), (10**3, 4, 0.02), (TOKENS, 1024, 1e-6)):
        decay = decays(config_of(batch_size=rows, learning_rate=rate, epochs=5.0), tokens)[1]
        assert 0.0 < decay <= 1.0
        assert 1.0 / (decay * rate * EMBEDDING_LR_FACTOR) > 85


def test_a_run_that_max_steps_ends_is_chosen_for_by_what_it_reads() -> None:
    long, short = filled(config_of(epochs=8.0)), filled(config_of(epochs=8.0, max_steps=100))
    assert short[1] == 0.01 > (long[1] or 0.0)


def tokens_a_step(tokens: int, context: int = 512, **training: Any) -> int:
    """Of a run of one epoch of so many tokens."""
    config = config_of(epochs=1.0, **training).model_copy(update={"model": shape_with(context)})
    found = resolve_defaults(config, resolve(config.model, 8192), train_tokens=tokens).training
    assert found.batch_size is not None
    return found.batch_size * found.gradient_accumulation_steps * context


def shape_with(context: int) -> ModelConfig:
    """gpt-tiny with another context."""
    return ModelConfig.model_validate({**PRESETS["gpt-tiny"]["model"], "context_length": context})


def test_longer_runs_take_larger_batches_within_what_was_tried() -> None:
    assert [tokens_a_step(tokens) for tokens in (10**3, 3 * 10**5, 3 * 10**6, 2 * 10**7, 10**9, 10**12)] == [
        2048, 2048, 4096, 8192, 16384, 16384
    ]  # fmt: skip


@pytest.mark.parametrize("keys", [{"context": 128}, {"context": 1024}, {"gradient_accumulation_steps": 4}])
def test_a_batch_is_chosen_in_tokens_of_a_step(keys: dict[str, Any]) -> None:
    assert [tokens_a_step(tokens, **keys) for tokens in (10**3, 3 * 10**6)] == [2048, 4096]


def test_a_row_that_is_longer_than_the_smallest_batch_is_a_batch() -> None:
    assert tokens_a_step(10**3, context=4096) == 4096


def test_a_batch_that_is_said_is_kept() -> None:
    assert tokens_a_step(10**9, batch_size=3) == 3 * 512


def test_a_run_that_max_steps_ends_takes_the_batch_of_its_length() -> None:
    assert [tokens_a_step(10**9, max_steps=steps) for steps in (100, 1000, 5000, 10**6)] == [2048, 4096, 8192, 16384]
    assert tokens_a_step(3 * 10**5, max_steps=10**6) == 2048


def test_wider_models_longer_runs_and_adamw_learn_at_lower_rates() -> None:
    assert rate_for("muon", 256, 3e5) == 0.01
    assert rate_for("muon", 256, 3e5) > rate_for("muon", 256, 3e6) > rate_for("muon", 256, 3e7)
    assert rate_for("muon", 256, 1e6) > rate_for("muon", 1024, 1e6) > rate_for("adamw", 1024, 1e6)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_alone_comes_to_a_run(preset: str) -> None:
    epochs, rate, decay = filled(config_of(preset))
    assert epochs is not None
    assert 1.0 <= epochs <= 5.0
    assert rate is not None
    assert 0.001 < rate <= 0.01
    assert decay is not None
    assert 0.0 < decay <= 1.0


def test_the_lowest_rate_that_is_asked_for_is_not_undercut() -> None:
    assert filled(config_of(min_lr=0.02))[1] == 0.02


def test_a_run_keeps_what_was_chosen_for_it(tiny_dataset: Path, tmp_path: Path) -> None:
    config = make_config(learning_rate=None, weight_decay=None, embedding_weight_decay=None, epochs=None, max_steps=2)
    trainer = make_trainer(config, tiny_dataset, tmp_path / "run")
    chosen = make_run_spec(config, open_dataset(tiny_dataset)).config
    assert trainer.config == chosen != config
    assert trainer.state.checkpoint().header["config"] == chosen.model_dump(mode="json")
    assert trainer.state.optimizer.muon is not None
    assert trainer.state.optimizer.muon.decay == chosen.training.weight_decay
    assert trainer.state.optimizer.adamw.groups[0][2] == chosen.training.embedding_weight_decay
    assert trainer.state.plan.schedule.peak == chosen.training.learning_rate
