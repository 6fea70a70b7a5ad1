"""Bounds, kinds of values and rules between keys."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from nima_cli.config.keys import allowed, leaves, sections
from nima_cli.config.schema import METRIC_MODES, PRESETS, Config, safe_name

ALLOWED = {".".join(path): allowed(field.annotation, field.metadata) for path, field in leaves().items()}
NUMBERS = [key for key, words in ALLOWED.items() if words.startswith(("a number", "a whole number"))]
BOUNDED = [key for key in NUMBERS if any(limit in ALLOWED[key] for limit in (" to ", "at most", "below"))]
WHOLE = [key for key in NUMBERS if ALLOWED[key].startswith("a whole")]
REQUIRED = [key for key, words in ALLOWED.items() if "`null`" not in words]


def config(values: dict[str, Any]) -> Config:
    """A config with some dotted keys set."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        section = nested
        for name in path:
            section = section.setdefault(name, {})
        section[last] = value
    return Config.model_validate(nested)


@pytest.mark.parametrize("bad", [True, False, math.nan, math.inf, -math.inf, "fast", "true", "nan", "", [], {}, -1])
@pytest.mark.parametrize("key", NUMBERS)
def test_number_refuses_what_is_none(key: str, bad: Any) -> None:
    with pytest.raises(ValidationError):
        config({key: bad})


@pytest.mark.parametrize("key", BOUNDED)
def test_number_refuses_what_is_out_of_reach(key: str) -> None:
    with pytest.raises(ValidationError):
        config({key: 10**30})


@pytest.mark.parametrize("key", WHOLE)
def test_whole_number_refuses_a_fraction(key: str) -> None:
    with pytest.raises(ValidationError):
        config({key: 32.5})


@pytest.mark.parametrize("key", REQUIRED)
def test_null_is_refused_where_nothing_chooses(key: str) -> None:
    with pytest.raises(ValidationError):
        config({key: None})


@pytest.mark.parametrize("text", ["3e-4", "3.0e-4", "0.0003", "3E-4"])
def test_number_as_text(text: str) -> None:
    assert config({"training.learning_rate": text}).training.learning_rate == 0.0003


@pytest.mark.parametrize("value", [100000, 1e5, "1e5", "100000", "1.0E5"])
def test_whole_number_as_text(value: Any) -> None:
    assert config({"training.max_steps": value}).training.max_steps == 100000


def test_large_seed_keeps_every_digit() -> None:
    assert config({"training.seed": str(2**62 + 1)}).training.seed == 2**62 + 1


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("training.epochs", 0.5, 0),
        ("training.learning_rate", 10, 10.1),
        ("training.batch_size", 1, 0),
        ("training.early_stopping.patience", 1, 0),
        ("training.max_grad_norm", 0, -0.1),
        ("training.lr_scheduler", "wsd", "cosin"),
        ("training.use_mixed_precision", "bf16", "fp8"),
        ("training.early_stopping.metric", "val_accuracy", "val_los"),
        ("model.preset", "gpt-small", "gpt-huge"),
        ("model.dropout", 0.99, 1.0),
        ("data.vocab_size", 300, 299),
        ("data.train_ratio", 0.5, 1.0),
        ("data.dir", "data/k8s", ""),
        ("data.dir", "with space", "nul\0"),
        ("monitoring.wandb.tags", ["a b"], ["a\x1b[31m"]),
        ("monitoring.wandb.project", "docs", "\ud800"),
        ("evaluation.generation.prompts", ["line\nline"], [""]),
        ("evaluation.generation.top_p", 1, 0),
        ("hardware.gpu_ids", [1, 0], [0, 0]),
        ("hardware.gpu_ids", [], [True]),
        ("hardware.device", "mps", "gpu"),
    ],
)
def test_edges(key: str, good: Any, bad: Any) -> None:
    config({key: good})
    with pytest.raises(ValidationError):
        config({key: bad})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model.preset": None}, "`n_layers`, `d_model`, `n_heads` must be given"),
        ({"model.preset": None, "model.n_layers": 2, "model.n_heads": 2}, "`d_model` must be given"),
        ({"model.d_model": 100, "model.n_heads": 3}, "even multiple"),
        ({"model.d_model": 36, "model.n_heads": 12}, "even multiple"),
        ({"model.n_heads": 4, "model.n_kv_heads": 3}, "`n_kv_heads` 3"),
        ({"data.train_ratio": 0.9, "data.val_ratio": 0.1}, "nothing for the test split"),
        ({"data.min_length": 9999, "data.max_length": 16}, "can never fit"),
        ({"training.min_lr": 0.5, "training.learning_rate": 0.1}, "`min_lr` 0.5 is above `learning_rate` 0.1"),
        ({"hardware.gpu_ids": [1, 2, 1]}, "names a GPU twice"),
    ],
)
def test_rules_between_keys(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(values)


@pytest.mark.parametrize(("metric", "mode"), METRIC_MODES.items())
def test_early_stopping_cannot_keep_the_worst_model(metric: str, mode: str) -> None:
    section = "training.early_stopping"
    assert config({f"{section}.metric": metric, f"{section}.mode": mode}).training.early_stopping.mode == mode
    with pytest.raises(ValidationError, match="worst model"):
        config({f"{section}.metric": metric, f"{section}.mode": {"min": "max", "max": "min"}[mode]})


def test_unknown_keys_are_refused_in_every_section() -> None:
    for path, section in sections().items():
        with pytest.raises(ValidationError, match="not_a_key"):
            section.model_validate({"not_a_key": 1, **({"path": "x"} if path[-1:] == ("sources[]",) else {})})


def test_values_never_change_after_validation() -> None:
    with pytest.raises(ValidationError):
        Config().training.epochs = 3  # type: ignore[misc]


def test_every_key_is_described() -> None:
    fields = [field for section in sections().values() for field in section.model_fields.values()]
    assert all(field.description and field.description.endswith(".") for field in fields)


def test_json_round_trip() -> None:
    original = config({"data.sources": [{"path": "docs", "weight": 1.5}], "training.use_mixed_precision": "fp16"})
    assert Config.model_validate_json(original.model_dump_json()) == original


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_set_keys_that_exist_and_fit(preset: dict[str, dict[str, Any]]) -> None:
    values = config({f"{section}.{key}": value for section, keys in preset.items() for key, value in keys.items()})
    assert {
        section: getattr(values, section).model_dump(include=set(keys)) for section, keys in preset.items()
    } == preset


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("training.learning_rate", "a number above 0 and at most 10 or `null`"),
        ("training.max_steps", "a whole number of at least 1 or `null`"),
        ("model.n_layers", "a whole number from 1 to 256 or `null`"),
        ("training.use_mixed_precision", "`true`, `false`, `bf16`, `fp16` or `int8`"),
        ("training.early_stopping.mode", "`min`, `max` or `null`"),
        ("hardware.gpu_ids", "a list, each item a whole number of at least 0"),
        ("monitoring.wandb.name", "text or `null`"),
    ],
)
def test_what_a_key_may_hold_in_words(key: str, words: str) -> None:
    assert ALLOWED[key] == words


@pytest.mark.parametrize("name", ["run-1", "k8s docs", "größe", ".hidden"])
def test_safe_names(name: str) -> None:
    assert safe_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "/abs", "C:", "CON", "con.txt", "lpt1", "-x", "a\0"])
def test_unsafe_names(name: str) -> None:
    assert not safe_name(name)
