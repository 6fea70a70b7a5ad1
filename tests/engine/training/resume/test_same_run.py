"""What may change between the parts of a run."""

import functools
import operator
import re
from typing import Any

import pytest

from nima_cli.config.keys import dotted, leaves
from nima_cli.config.schema import Config
from nima_cli.engine.training.resume.same_run import FROZEN, MUTABLE, check_same_run, flatten, mutable_changes
from nima_cli.errors import ConfigError


@pytest.mark.parametrize("key", [dotted(path) for path in leaves()])
def test_every_key_is_classed_exactly_once(key: str) -> None:
    assert [key.startswith(FROZEN), key.startswith(MUTABLE)].count(True) == 1


def test_no_class_names_a_key_that_is_gone() -> None:
    keys = [dotted(path) for path in leaves()]
    assert [prefix for prefix in FROZEN + MUTABLE if not any(key.startswith(prefix) for key in keys)] == []


@pytest.mark.parametrize("key", [dotted(path) for path in leaves()])
def test_a_key_that_defines_the_run_is_refused_and_any_other_is_told(key: str) -> None:
    wanted = Config()
    saved: dict[str, Any] = wanted.model_dump(mode="json")
    *path, name = key.split(".")
    section = functools.reduce(operator.getitem, path, saved)
    section[name] = "something else"
    if key.startswith(FROZEN):
        with pytest.raises(ConfigError, match=re.escape(f"`{key}` was 'something else', is now")):
            check_same_run(saved, wanted)
        assert mutable_changes(saved, wanted) == []
    else:
        check_same_run(saved, wanted)
        told = [line for line in mutable_changes(saved, wanted) if line.startswith(f"`{key}` was 'something else'")]
        assert len(told) == (0 if key.startswith("data.") else 1)


def changed(section: str, **values: Any) -> Config:
    base = Config().model_dump()
    return Config.model_validate({**base, section: {**base[section], **values}})


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("training", {"learning_rate": 0.001}, "`training.learning_rate` was null, is now 0.001"),
        ("training", {"optimizer": "adamw"}, "`training.optimizer` was 'muon', is now 'adamw'"),
        ("training", {"seed": 7}, "`training.seed` was 42, is now 7"),
        ("model", {"dropout": 0.2}, "`model.dropout` was 0, is now 0.2"),
        ("model", {"qk_norm": False}, "`model.qk_norm` was true, is now false"),
    ],
)
def test_a_changed_identity_is_refused_by_name(section: str, values: dict[str, Any], message: str) -> None:
    saved = Config().model_dump(mode="json")
    with pytest.raises(ConfigError) as refused:
        check_same_run(saved, changed(section, **values))
    assert message in refused.value.message


def test_all_changes_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"`training.min_lr`.*`training.seed`"):
        check_same_run(Config().model_dump(mode="json"), changed("training", seed=1, min_lr=1e-4))


def test_free_keys_may_change() -> None:
    saved = Config().model_dump(mode="json")
    check_same_run(saved, changed("training", epochs=9.0, max_steps=5, eval_steps=3, log_steps=1, save_steps=2))
    check_same_run(saved, changed("hardware", device="cpu"))
    check_same_run(saved, changed("data", dir="elsewhere"))


def test_flatten_makes_dotted_keys_and_keeps_lists() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [1, {"e": 2}]}}, "f": None}) == {
        "a.b": 1,
        "a.c.d": [1, {"e": 2}],
        "f": None,
    }
