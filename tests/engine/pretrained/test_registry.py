"""The models that nima knows: facts that agree with each other."""

import re

import pytest

from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.pretrained.registry import KNOWN_MODELS, HubSource, KnownModel, known_model

each = pytest.mark.parametrize("known", KNOWN_MODELS, ids=lambda known: known.name)


@each
def test_the_sizes_of_a_model_have_as_many_parameters_as_its_card_says(known: KnownModel) -> None:
    shape = ModelShape(**known.sizes, rope_theta=10000.0)
    assert ModelShape.from_dict(shape.to_dict()).parameters() == known.parameters


@each
def test_a_name_is_one_word_that_a_shell_and_a_file_system_take(known: KnownModel) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", known.name)
    assert known_model(known.name.upper()) is known


@each
def test_only_what_was_run_is_called_tested(known: KnownModel) -> None:
    assert known.tested == (known.name == "smollm2-135m")


def test_names_and_repositories_are_there_once() -> None:
    assert len({known.name for known in KNOWN_MODELS}) == len(KNOWN_MODELS)
    assert len({str(known.source) for known in KNOWN_MODELS}) == len(KNOWN_MODELS)


def test_a_gated_model_says_so() -> None:
    gated = [known for known in KNOWN_MODELS if isinstance(known.source, HubSource) and known.source.gated]
    assert {known.licence for known in gated} == {"llama3.2"}
    assert all(str(known.source).endswith(", gated") for known in gated)
    assert known_model("no-such-model") is None
