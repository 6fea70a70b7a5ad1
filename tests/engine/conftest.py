"""A tokenizer, a checkpoint of a small random model with it, and training's compiled kernels."""

from pathlib import Path

import pytest

from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.kernels.build import NoProgramError
from nima_cli.engine.kernels.kernels import Kernels, load_kernels
from tests.engine.small_models import own_tokenizer, small_checkpoint


@pytest.fixture(scope="module")
def tokenizer(tiny_dataset: Path) -> SentencePieceTokenizer:
    return own_tokenizer(tiny_dataset)


@pytest.fixture
def checkpoint(tokenizer: SentencePieceTokenizer) -> Checkpoint:
    return small_checkpoint(tokenizer)


@pytest.fixture
def compiled_kernels(compiled: Path) -> Kernels:
    """Compiled once for all tests of a process."""
    try:
        return load_kernels(compiled)
    except NoProgramError as error:
        pytest.skip(str(error))


@pytest.fixture
def int8_kernels(compiled: Path, compiled_kernels: Kernels) -> Kernels:
    """The same for products of 8-bit integers, which torch can do on any processor, if not fast."""
    assert not compiled_kernels.int8
    return load_kernels(compiled, int8=True)


@pytest.fixture(params=["eager", "compiled"])
def kernels(request: pytest.FixtureRequest) -> Kernels | None:
    """Both ways to compute: with torch alone, and with the kernels."""
    return request.getfixturevalue("compiled_kernels") if request.param == "compiled" else None
