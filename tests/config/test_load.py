"""Layers and their order, where values come from, and that what is written loads again."""

from pathlib import Path
from typing import Any

import pytest

from nima_cli.config.load import dump_yaml, load_config
from nima_cli.config.schema import PRESETS, Config
from tests.config.loading import load


def test_without_anything_the_defaults_and_their_preset() -> None:
    resolved = load_config(environ={})
    assert resolved.config.model.n_layers == PRESETS["gpt-tiny"]["model"]["n_layers"]
    assert resolved.config.training.epochs == Config().training.epochs
    assert resolved.origins["model.n_layers"] == "preset gpt-tiny"
    assert resolved.origins["training.epochs"] == "default"


def test_each_layer_wins_over_those_below(tmp_path: Path) -> None:
    text = "training:\n  batch_size: 101\n"
    layers: list[tuple[str, dict[str, Any]]] = [
        (f"{tmp_path / 'run.yaml'}:2", {}),
        ("NIMA_TRAINING__BATCH_SIZE", {"environ": {"NIMA_TRAINING__BATCH_SIZE": "102"}}),
        ("--batch-size", {"overrides": {"training.batch_size": 103}}),
        ("--set", {"set_": ["training.batch_size=104"]}),
    ]
    arguments: dict[str, Any] = {}
    for expected, (source, more) in enumerate(layers, start=101):
        arguments |= more
        resolved = load(tmp_path, text, **arguments)
        assert (resolved.config.training.batch_size, resolved.origins["training.batch_size"]) == (expected, source)


def test_sources_name_every_key(tmp_path: Path) -> None:
    resolved = load(tmp_path, "data:\n  sources: [{path: docs}]\ntraining:\n  early_stopping:\n    patience: 9\n")
    assert resolved.origins["data.sources"].endswith("run.yaml:2")
    assert resolved.origins["training.early_stopping.patience"].endswith("run.yaml:5")
    assert resolved.origins["training.early_stopping.enabled"] == "default"
    assert "training.early_stopping" not in resolved.origins


@pytest.mark.parametrize("name", ["model.preset", "data.dir", "data.dedupe", "training.early_stopping.min_delta"])
def test_flags_are_named_as_typed(name: str) -> None:
    value = {"model.preset": "gpt-small", "data.dir": "d", "data.dedupe": "off"}.get(name, 0.5)
    flag = {"model.preset": "--preset", "data.dir": "--data", "data.dedupe": "--dedup"}.get(name, "--min-delta")
    assert load_config(overrides={name: value}, environ={}).origins[name] == flag


def test_a_flag_that_was_not_given_changes_nothing() -> None:
    assert load_config(overrides={"training.epochs": None}, environ={}) == load_config(environ={})


@pytest.mark.parametrize(
    "arguments",
    [
        {"preset": "gpt-small"},
        {"set_": ["model.preset=gpt-small"]},
        {"environ": {"NIMA_MODEL__PRESET": "gpt-small"}},
        {"environ": {"NIMA_MODEL__PRESET": "gpt-medium"}, "preset": "gpt-small"},
        {"preset": "gpt-medium", "set_": ["model.preset=gpt-small"]},
    ],
)
def test_the_strongest_layer_chooses_the_preset(tmp_path: Path, arguments: dict[str, Any]) -> None:
    resolved = load(tmp_path, "model:\n  preset: gpt-tiny\n  n_layers: 5\n", **arguments)
    assert resolved.config.model.preset == "gpt-small"
    assert resolved.config.model.d_model == 768
    assert resolved.config.model.n_layers == 5, "the file wins over the preset, wherever the preset was chosen"
    assert resolved.origins["training.lr_scheduler"] == "preset gpt-small"


def test_without_a_preset_no_size_comes_from_one(tmp_path: Path) -> None:
    text = "model: {preset: null, n_layers: 2, d_model: 64, n_heads: 4}\n"
    resolved = load(tmp_path, text)
    assert resolved.config.model.context_length is None
    assert not [source for source in resolved.origins.values() if source.startswith("preset")]


def test_a_size_that_is_null_comes_from_the_preset(tmp_path: Path) -> None:
    resolved = load(tmp_path, "model: {n_layers: null, d_ff: 640}\n")
    assert (resolved.config.model.n_layers, resolved.config.model.d_ff) == (4, 640)
    assert resolved.origins["model.n_layers"] == "preset gpt-tiny"


def test_a_checkpoint_stands_in_for_defaults_and_preset(tmp_path: Path) -> None:
    base = load_config(environ={}, set_=["model.n_layers=3", "training.seed=7"]).config.model_dump()
    resolved = load(tmp_path, "model: {preset: gpt-tiny, d_model: null}\ntraining: {epochs: 9}\n", base=base)
    assert (resolved.config.model.n_layers, resolved.config.model.d_model) == (3, 256)
    assert (resolved.config.training.seed, resolved.config.training.epochs) == (7, 9)
    assert resolved.origins["training.seed"] == "checkpoint"
    assert resolved.origins["model.n_layers"] == "checkpoint"


def test_another_preset_over_a_checkpoint_counts() -> None:
    base = load_config(environ={}).config.model_dump()
    assert load_config(base=base, preset="gpt-small", environ={}).config.model.d_model == 768


def test_a_mapping_gets_the_keys_of_every_layer_and_a_list_is_replaced(tmp_path: Path) -> None:
    text = "data:\n  fields: {question: Q, title: T}\n  exclude: [a]\n"
    overrides = {"data.fields": {"question": "Frage"}, "data.exclude": ["b"]}
    data = load(tmp_path, text, overrides=overrides).config.data
    assert data.fields == {"question": "Frage", "title": "T"}
    assert data.exclude == ["b"]
    assert load(tmp_path, text, set_=["data.fields=null"]).config.data.fields is None


def test_an_empty_section_says_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "training:\nmonitoring:\n  wandb:\n").config == Config.model_validate(
        load_config(environ={}).config.model_dump()
    )


@pytest.mark.parametrize("text", ["3e-4", "3.0e-4", "0.0003", ".0003", "+3E-4", "'3e-4'"])
def test_a_number_is_the_same_everywhere(tmp_path: Path, text: str) -> None:
    loaded = [
        load(tmp_path, f"training: {{learning_rate: {text}}}\n"),
        load_config(environ={"NIMA_TRAINING__LEARNING_RATE": text.strip("'")}),
        load_config(set_=[f"training.learning_rate={text}"], environ={}),
    ]
    assert [one.config.training.learning_rate for one in loaded] == [0.0003] * 3


def test_environment_reaches_every_depth_and_kind() -> None:
    environ = {
        "NIMA_TRAINING__EARLY_STOPPING__PATIENCE": "7",
        "NIMA_HARDWARE__GPU_IDS": "[0, 1]",
        "NIMA_DATA__SOURCES": '[{"path": "docs", "weight": 2.0}]',
        "NIMA_TRAINING__MAX_STEPS": "1e5",
        "NIMA_TRAINING__EVAL_STEPS": "null",
        "NIMA_TRAINING__USE_MIXED_PRECISION": "bf16",
        "NIMA_MONITORING__TENSORBOARD": "false",
        "NIMA_MONITORING__WANDB__NAME": "2024",
        "NIMA_HOME": "elsewhere",
        "NIMAX__EPOCHS": "not ours",
    }
    config = load_config(environ=environ).config
    assert config.training.early_stopping.patience == 7
    assert config.hardware.gpu_ids == [0, 1]
    assert config.data.sources[0].weight == 2.0
    assert (config.training.max_steps, config.training.eval_steps) == (100000, None)
    assert (config.training.use_mixed_precision, config.monitoring.tensorboard) == ("bf16", False)
    assert config.monitoring.wandb.name == "2024"


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIMA_TRAINING__EPOCHS", "4")
    assert load_config().config.training.epochs == 4


def test_a_later_set_wins() -> None:
    section = "training.early_stopping"
    arguments = [f"{section}.patience=3", f"{section}={{patience: 4, min_delta: 0.5}}", f"{section}.patience=5"]
    early_stopping = load_config(set_=arguments, environ={}).config.training.early_stopping
    assert (early_stopping.patience, early_stopping.min_delta) == (5, 0.5)


def test_a_written_config_does_not_depend_on_presets(tmp_path: Path) -> None:
    config = load_config(preset="gpt-small", set_=["model.n_layers=3", "model.tie_embeddings=false"], environ={}).config
    assert load(tmp_path, dump_yaml(config)).config == config
