"""Which tensors are rounded to what, and that the file holds the rounded values."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nima_cli.engine.checkpoint.file import Checkpoint, save
from nima_cli.engine.export.gguf.tensor_types import rounded, tensor_types
from nima_cli.engine.model.layout import gguf_name, rope_layout
from nima_cli.engine.pretrained.load import load_pretrained
from nima_cli.errors import CheckpointError
from tests.engine.export.conftest import export
from tests.engine.small_models import small_shape

gguf = pytest.importorskip("gguf")

Saved = Callable[..., tuple[Path, Checkpoint]]
# The largest error of a value in a block, as a share of the largest value there: half a step, or a whole one where the
# other sign has a step less; and the scale is of 16 bits.
LARGEST_ERROR = {"q8_0": 0.5 / 127, "q4_0": 1 / 8}
SMALLEST = 4e-6  # where a scale is too small for 16 bits


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_what_is_rounded_is_packed_without_loss(kind: str) -> None:
    """So the values that are compared with those of the file are those that were written."""
    values = torch.randn(48, 96, generator=torch.Generator().manual_seed(0)) * torch.logspace(-9, 3, 48)[:, None]
    values[5], values[6, ::2] = 0.0, 0.0
    once = rounded(values, kind)
    assert torch.equal(rounded(once, kind), once)
    off, largest = ((each).view(-1, 32).abs().amax(dim=1) for each in (once - values, values))
    assert bool((off <= (LARGEST_ERROR[kind.lower()] + 2**-10) * largest + SMALLEST).all())


@pytest.mark.parametrize("tied", [True, False])
def test_the_matrix_of_the_logits_has_eight_bits_at_least(tied: bool) -> None:
    types = tensor_types(small_shape(tie_embeddings=tied, d_ff=64), "q4_0")
    assert types["embed_tokens.weight"] == ("Q8_0" if tied else "Q4_0")
    assert tied or types["lm_head.weight"] == "Q8_0"
    assert types["layers.0.mlp.down_proj.weight"] == "Q4_0"
    assert {types[name] for name in types if "norm" in name} == {"F32"}
    biased = tensor_types(small_shape(qk_norm=False, qkv_bias=True), "q4_0")
    assert {kind for name, kind in biased.items() if name.endswith("bias")} == {"F32"}


@pytest.mark.parametrize("dtype", ["q8_0", "q4_0"])
@pytest.mark.parametrize("layout", ["qwen3", "llama"])
def test_a_quantized_model_is_near_its_checkpoint(dtype: str, layout: str, saved: Saved, tmp_path: Path) -> None:
    path, checkpoint = saved(layout)
    exported = export(path, tmp_path / "m.gguf", "gguf", dtype=dtype)
    types = tensor_types(checkpoint.shape, dtype)
    for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors:
        name = next(name for name in checkpoint.model if gguf_name(name) == tensor.name)
        assert tensor.tensor_type.name == types[name]
        found = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        expected = rope_layout(name, checkpoint.model[name], checkpoint.shape)
        if types[name] == dtype.upper():
            off = (found.reshape(expected.shape) - expected).abs().view(-1, 32).amax(1)
            largest = expected.reshape(-1, 32).abs().amax(1)
            assert bool((off <= (LARGEST_ERROR[dtype] + 2**-10) * largest + SMALLEST).all()), name
        else:
            torch.testing.assert_close(found.reshape(expected.shape), expected, rtol=0.01, atol=0.01)
    assert exported.notes == (
        "32 does not divide the width of these, which stay in float16: blk.*.ffn_down.weight",
    )  # of 48 inputs
    assert f"; {dtype} moves the logits by " in exported.verified[0]
    assert exported.verified[0] in (tmp_path / "m.gguf.md").read_text("utf-8")


@pytest.mark.parametrize(("dtype", "largest"), [("float16", 1e6), ("q8_0", 1e8), ("q4_0", 1e6)])
def test_a_value_beyond_the_type_is_refused(dtype: str, largest: float, saved: Saved, tmp_path: Path) -> None:
    _, checkpoint = saved()
    checkpoint.model["layers.0.mlp.up_proj.weight"][3, 3] = largest
    save(tmp_path / "large.pt", checkpoint)
    with pytest.raises(CheckpointError, match=rf"`layers.0.mlp.up_proj.weight` has values beyond {dtype}"):
        export(tmp_path / "large.pt", tmp_path / "m.gguf", "gguf", dtype=dtype)
    assert [file.name for file in tmp_path.iterdir()] == ["large.pt"]


def test_the_smaller_type_is_the_smaller_file(saved: Saved, tmp_path: Path) -> None:
    path, checkpoint = saved()
    sizes = {}
    for dtype in ("float32", "float16", "q8_0", "q4_0"):
        sizes[dtype] = export(path, tmp_path / f"{dtype}.gguf", "gguf", dtype=dtype).files[0].stat().st_size
        assert load_pretrained(tmp_path / f"{dtype}.gguf").shape.parameters() == checkpoint.shape.parameters()
    assert sorted(sizes, key=sizes.__getitem__) == ["q4_0", "q8_0", "float16", "float32"]
