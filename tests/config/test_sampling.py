"""The settings of sampling have one default and one range, wherever a text is written."""

import inspect
import re

import pytest

from nima_cli.config.schema import GenerationConfig, SamplingConfig
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.errors import InputError
from tests.conftest import RunCli

NAMES = list(SamplingConfig.model_fields)


def test_the_engine_and_the_samples_of_training_have_the_same_defaults() -> None:
    default = SamplingConfig()
    for name in NAMES:
        assert getattr(SamplingParams(), name) == getattr(default, name) == getattr(GenerationConfig(), name)
    assert set(inspect.signature(SamplingParams).parameters) == set(NAMES)


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_the_help_of_each_command_says_that_default(command: str, run_cli: RunCli) -> None:
    shown = " ".join(run_cli(command, "--help").stdout.split())
    for name in NAMES:
        option = "--" + name.replace("_", "-")
        help_text = f"{SamplingConfig.model_fields[name].description} [default: {getattr(SamplingConfig(), name)}]"
        assert re.search(rf"{option} [NX] {re.escape(help_text)}", shown)


@pytest.mark.parametrize(
    ("name", "fits", "beyond"),
    [
        ("temperature", [0.0, 100.0], [-0.1, 100.1, float("nan")]),
        ("top_k", [0, 10**30], [-1]),
        ("top_p", [1e-9, 1.0], [0.0, 1.1]),
        ("min_p", [0.0, 0.999], [-0.1, 1.0]),
        ("repetition_penalty", [1e-9, 100.0], [0.0, 101.0]),
    ],
)
def test_the_range_is_the_same_for_the_engine_and_a_configuration(
    name: str, fits: list[float], beyond: list[float]
) -> None:
    for value in fits:
        assert getattr(SamplingParams(**{name: value}), name) == getattr(GenerationConfig(**{name: value}), name)
    for value in beyond:
        with pytest.raises(InputError, match=f"`{name}` .* is out of range"):
            SamplingParams(**{name: value})
        with pytest.raises(ValueError, match=name):
            GenerationConfig(**{name: value})
