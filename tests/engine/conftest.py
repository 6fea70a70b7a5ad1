"""A tokenizer, and a checkpoint of a small random model with it."""

from pathlib import Path

import pytest

from nima_cli.engine.checkpoint import Checkpoint
from nima_cli.engine.data.tokenizer import Tokenizer
from tests.engine.small_models import small_checkpoint


@pytest.fixture(scope="module")
def tokenizer(tiny_dataset: Path) -> Tokenizer:
    return Tokenizer.load(tiny_dataset)


@pytest.fixture
def checkpoint(tokenizer: Tokenizer) -> Checkpoint:
    return small_checkpoint(tokenizer)
