"""The arithmetic of memory, and tensors that change while they are read."""

from pathlib import Path

import pytest
import torch

from nima_cli.engine.pretrained.weights import StoredTensor, check_memory, read
from nima_cli.errors import CheckpointError, ResourceError
from tests.engine.small_models import small_shape


def test_what_does_not_fit_into_memory_is_refused_with_the_arithmetic(tmp_path: Path) -> None:
    shape = small_shape(vocab_size=1_000_000, d_model=1000, n_heads=10, n_kv_heads=10, context_length=1_000_000)
    with (tmp_path / "x").open("wb+") as file:
        tensors = {
            name: StoredTensor(file, name, "BF16" if len(size) > 1 else "F32", size, 0, 0)
            for name, size in shape.tensors().items()
        }
        # 2 bytes for each of 10**9 parameters, 2.0 GB again for the embedding, 0.4 GB for rotary angles
        with pytest.raises(ResourceError) as caught:
            check_memory(Path("theirs"), shape, tensors, 4_000_000_000)
        assert caught.value.message == (
            f"theirs: not enough memory to load it: {shape.parameters():,} parameters of 2.0 bytes are 2.0 GB, with "
            "what loading takes beside them 4.4 GB; 4.0 GB are free"
        )
        check_memory(Path("theirs"), shape, tensors, 4_500_000_000)
        check_memory(Path("theirs"), shape, tensors, None)


@pytest.mark.parametrize(("dtype", "nbytes"), [("F32", 256), ("Q8_0", 68)])
def test_a_file_that_becomes_shorter_is_refused(dtype: str, nbytes: int, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    path = tmp_path / "x"
    path.write_bytes(bytes(nbytes))
    with path.open("rb", buffering=0) as file:
        stored = StoredTensor(file, "a", dtype, (2, 32), 0, nbytes)
        assert torch.equal(read(stored), torch.zeros(2, 32))
        path.write_bytes(bytes(nbytes - 1))
        with pytest.raises(CheckpointError, match="became shorter while it was read"):
            read(stored)
