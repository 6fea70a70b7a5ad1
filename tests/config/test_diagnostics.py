"""What a user reads when something is wrong: the place, the key, what is allowed, the nearest key; never a secret."""

from pathlib import Path
from typing import Any

import pytest

from nima_cli.config.load import load_config
from tests.config.loading import refused

CANARY = "wk-canary-81c2"

UNKNOWN: list[tuple[str, dict[str, Any], str]] = [
    (
        "training:\n  learning_rat: 1\n",
        {},
        "run.yaml:2: unknown key `training.learning_rat` | did you mean `learning_rate`?",
    ),
    ("trainin:\n  epochs: 1\n", {}, "run.yaml:1: unknown key `trainin` | did you mean `training`?"),
    ("early_stopping:\n  patience: 3\n", {}, "run.yaml:1: unknown key `early_stopping` | move it under `training:`"),
    ("model:\n  top_k: 1\n", {}, "run.yaml:2: unknown key `model.top_k` | move it under `evaluation.generation:`"),
    ("seed: 1\n", {}, "run.yaml:1: unknown key `seed` | move it under `data:` or `training:`"),
    (
        "data:\n  sources:\n    - path: a\n      wieght: 2\n",
        {},
        "run.yaml:4: unknown key `data.sources[0].wieght` | did you mean `weight`?",
    ),
    (
        "",
        {"environ": {"NIMA_TRAINING__LEARNING_RAT": "1"}},
        "NIMA_TRAINING__LEARNING_RAT: unknown key `training.learning_rat` "
        "| did you mean `NIMA_TRAINING__LEARNING_RATE`?",
    ),
    (
        "",
        {"environ": {"NIMA_TRAINNG__EPOCHS": "1"}},
        "NIMA_TRAINNG__EPOCHS: unknown key `trainng.epochs` | did you mean `NIMA_TRAINING__EPOCHS`?",
    ),
    (
        "",
        {"environ": {"NIMA_TRAINING_EPOCHS": "1"}},
        "NIMA_TRAINING_EPOCHS: names no key | did you mean `NIMA_TRAINING__EPOCHS`, with two underscores?",
    ),
    ("", {"environ": {"NIMA_DATA": "{}"}}, "NIMA_DATA: names a whole section | set one key, as in `NIMA_DATA__KEY`"),
    (
        "",
        {"set_": ["training.epoch=1"]},
        "--set: unknown key `training.epoch` | did you mean `training.epochs`?",
    ),
    ("", {"set_": ["training.epochs"]}, "--set: expected `section.key=value` | for example `training.epochs=3`"),
]


@pytest.mark.parametrize(("text", "arguments", "words"), UNKNOWN, ids=range(len(UNKNOWN)))
def test_unknown_keys_name_the_nearest(tmp_path: Path, text: str, arguments: dict[str, Any], words: str) -> None:
    assert refused(tmp_path, text or None, **arguments) == words


RATE = "must be a number above 0 and at most 10 or `null`, got"
BAD_VALUES = [
    *[(f"training:\n  learning_rate: {value}\n", f"run.yaml:2: `training.learning_rate` {RATE} {shown}")
      for value, shown in [("fast", "`fast`"), ("true", "`true`"), (".nan", "`nan`"),
                           ("-.inf", "`-inf`"), ("1e400", "`inf`"), ("0", "`0`"), ("-1", "`-1`"), ("[1]", "a list")]],
    ("training:\n  min_lr: null\n", "run.yaml:2: `training.min_lr` must be a number of at least 0, got `null`"),
    ("training:\n  epochs: yes\n",
     "run.yaml:2: `training.epochs` must be a number above 0 and at most 10000 or `null`, got `yes`"),
    ("hardware:\n  gpu_ids: [0, 0]\n", "run.yaml:2: `hardware.gpu_ids`: [0, 0] names a GPU twice"),
    ("hardware:\n  gpu_ids:\n    - 0\n    - -1\n",
     "run.yaml:4: `hardware.gpu_ids[1]` must be a whole number of at least 0, got `-1`"),
    ("model: {preset: gpt-huge}\n",
     "run.yaml:1: `model.preset` must be `gpt-tiny`, `gpt-small`, `gpt-medium` or `null`, got `gpt-huge`"),
    ("training: {early_stopping: {metric: val_los}}\n",
     "run.yaml:1: `training.early_stopping.metric` must be `val_loss`, `val_perplexity`, `val_bits_per_byte`, "
     "`val_accuracy`, `train_loss` or `train_perplexity`, got `val_los` | did you mean `val_loss`?"),
    ("training: {use_mixed_precision: fp8}\n",
     "run.yaml:1: `training.use_mixed_precision` must be `true`, `false`, `bf16`, `fp16` or `int8`, got `fp8`"),
    ("monitoring:\n  wandb:\n    name: 2024\n",
     "run.yaml:3: `monitoring.wandb.name` must be text or `null`, got `2024` | put it in quotes"),
    ("data:\n  sources:\n    - format: qa\n", "run.yaml:3: `data.sources[0].path` is missing"),
    ("data:\n  sources:\n    - docs\n",
     "run.yaml:3: `data.sources[0]` must be a section with the keys `path`, `format`, `container`, `weight`, `name`, "
     "`fields`, `exclude`, got `docs` | write `path: docs`"),
    ("hardware: cpu\n", "run.yaml:1: `hardware` is a section of keys, not a value "
     "| its keys are `device`, `distributed`, `gpu_ids`, `compiler`, `backend`, `check_memory`"),
    ("training:\n  learning_rate: 0.01\n  min_lr: 0.1\n",
     "run.yaml:3: `training`: `min_lr` 0.1 is above `learning_rate` 0.01"),
    ("data:\n  dir: \"\\ud800\"\n", "run.yaml:2: `data.dir` must be text or `null`, got `\ud800`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), BAD_VALUES, ids=range(len(BAD_VALUES)))
def test_bad_values_show_what_is_allowed(tmp_path: Path, text: str, words: str) -> None:
    assert refused(tmp_path, text) == words


def test_a_bad_value_is_shown_where_the_strongest_layer_set_it(tmp_path: Path) -> None:
    text = "training:\n  min_lr: 0.1\n  learning_rate: 0.2\n"
    assert refused(tmp_path, text, set_=["training.learning_rate=0.01"]).startswith("--set: `training`: `min_lr` 0.1")
    assert refused(tmp_path, text, overrides={"training.epochs": 0}).startswith("--epochs: `training.epochs` must be")


def test_a_section_replaced_by_a_value_is_not_hidden_by_a_stronger_layer(tmp_path: Path) -> None:
    assert "is a section" in refused(tmp_path, "training: 5\n", environ={"NIMA_TRAINING__EPOCHS": "2"})


@pytest.mark.parametrize("key", ["api_key", "token", "WANDB_API_KEY", "password", "secret", "key", "hf_token"])
def test_secrets_are_refused_and_never_repeated(tmp_path: Path, key: str) -> None:
    words = "secrets do not belong in a configuration | remove it; use the variable WANDB_API_KEY or `wandb login`"
    shown = [
        refused(tmp_path, f"monitoring:\n  wandb:\n    {key}: {CANARY}\n"),
        refused(tmp_path, set_=[f"monitoring.wandb.{key}={CANARY}"]),
        refused(tmp_path, environ={f"NIMA_MONITORING__WANDB__{key}": CANARY}),
        refused(tmp_path, environ={f"NIMA_WANDB__{key}": CANARY}),
    ]
    assert all(text.endswith(words) for text in shown)
    assert CANARY not in "".join(shown)


def test_no_error_repeats_a_value_in_a_wrong_place(tmp_path: Path) -> None:
    shown = [
        refused(tmp_path, f"monitoring:\n  wandb: {CANARY}\n"),
        refused(tmp_path, f"wandb:\n  api_key: {CANARY}\n"),
        refused(tmp_path, set_=[f"WANDB_API_KEY={CANARY}", CANARY]),
    ]
    assert CANARY not in "".join(shown)


def test_a_key_that_only_looks_like_a_secret_is_a_misspelling(tmp_path: Path) -> None:
    assert refused(tmp_path, "evaluation:\n  max_token: 1\n").endswith("did you mean `max_tokens: 32768`?")


@pytest.mark.parametrize("text", ["2024", "true", "[draft]", "{x}", "1e5"])
def test_text_that_is_typed_for_a_key_of_text_means_itself(tmp_path: Path, text: str) -> None:
    name = "monitoring.wandb.name"
    typed = load_config(set_=[f"{name}={text}"], environ={})
    exported = load_config(environ={"NIMA_MONITORING__WANDB__NAME": text})
    assert typed.config.monitoring.wandb.name == exported.config.monitoring.wandb.name == text


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = "training:\n  epochs: 0\n  seeed: 1\n"
    message = refused(tmp_path, text, set_=["data.seed=x"], environ={"NIMA_TRAINNG__EPOCHS": "1"})
    assert {line.split(": ")[0] for line in message.splitlines()} == {
        "run.yaml:2", "run.yaml:3", "--set", "NIMA_TRAINNG__EPOCHS",
    }  # fmt: skip
    assert "run.yaml:3: unknown key `training.seeed` (did you mean `seed: 42`?)" in message


def test_each_variable_of_an_unknown_section_is_told(tmp_path: Path) -> None:
    message = refused(tmp_path, environ={"NIMA_TRAINNG__EPOCHS": "1", "NIMA_TRAINNG__MAX_STEPS": "2"})
    assert [line.split(": ")[0] for line in message.splitlines()] == ["NIMA_TRAINNG__EPOCHS", "NIMA_TRAINNG__MAX_STEPS"]


def test_very_many_problems_are_counted(tmp_path: Path) -> None:
    lines = refused(tmp_path, "".join(f"qqq{index}: 1\n" for index in range(30))).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 10 more problems"
