"""The compiled program says what torch says, and where it cannot be had the reason is told."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.engine.inference.generator import DecodeBackend, Generator, StoppingCriteria
from nima_cli.engine.inference.sampling import SamplingParams, sample
from nima_cli.engine.kernels.build import DECODER, NoProgramError, library
from nima_cli.engine.kernels.convert import quantize_
from nima_cli.engine.kernels.decoder import NativeBackend, native_backend
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.rope_scaling import RopeScaling
from nima_cli.errors import DivergedError
from tests.engine.small_models import random_model, small_shape

# Widths that are and are not whole vectors of the program.
SHAPES: list[dict[str, Any]] = [
    {},
    {"n_kv_heads": 2},
    {"qk_norm": False, "n_kv_heads": 1},
    {"tie_embeddings": False, "d_ff": 77},
    {"d_model": 136, "n_heads": 2, "n_kv_heads": 2, "d_ff": 200},
    {"qk_norm": False, "n_heads": 3, "n_kv_heads": 1, "d_model": 36, "norm_epsilon": 1e-2},
    {"qk_norm": False, "qkv_bias": True, "n_kv_heads": 2},
    {"head_dim": 24, "n_kv_heads": 2, "qkv_bias": True},
    {"qk_norm": False, "rope_scaling": RopeScaling("yarn", 4.0, 8, 1.0, 4.0, attention_factor=1.14)},
]


@pytest.fixture(scope="module")
def folder(compiled: Path) -> Path:
    try:
        library(DECODER, compiled)
    except NoProgramError as error:
        pytest.skip(str(error))
    return compiled


def backend(model: GPT, folder: Path, **options: Any) -> NativeBackend:
    found = native_backend(model, folder, **options)
    assert found is not None
    return found


@torch.inference_mode()
def logits(backend: DecodeBackend, model: GPT, count: int = 24) -> torch.Tensor:
    """After each of `count` tokens, `[count, V]`."""
    cache = KVCache(model.shape, batch=1, capacity=24, device=torch.device("cpu"), dtype=backend.cache_dtype)
    return torch.cat([backend.step(7 * index % 97, cache) for index in range(count)])


@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_every_shape_gives_the_logits_of_torch(changes: dict[str, Any], folder: Path) -> None:
    model = random_model(small_shape(**changes))
    torch.testing.assert_close(
        logits(backend(model, folder), model), logits(DecodeBackend(model), model), atol=2e-5, rtol=1e-4
    )


@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_weights_in_16_bit_are_read_as_they_are(changes: dict[str, Any], folder: Path) -> None:
    """With activations in float32: so the same as a float32 model whose weights were rounded."""
    model = random_model(small_shape(**changes)).to(torch.bfloat16)
    model.compute_dtype = torch.bfloat16
    found = logits(backend(model, folder), model)
    model.to(torch.float32).compute_dtype = torch.float32
    torch.testing.assert_close(found, logits(DecodeBackend(model), model), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_weights_in_8_bit_are_those_that_the_model_was_rounded_to(changes: dict[str, Any], folder: Path) -> None:
    model = random_model(small_shape(**changes))
    exact = logits(DecodeBackend(model), model)
    rows = quantize_(model)
    rounded = logits(DecodeBackend(model), model)
    torch.testing.assert_close(logits(backend(model, folder, rows=rows), model), rounded, atol=5e-5, rtol=1e-4)
    assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()


def test_the_number_of_threads_changes_no_bit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nima_cli.engine.kernels.decoder._BYTES_PER_THREAD", 1)
    model, before = random_model(small_shape()), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(logits(backend(model, folder), model))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@torch.inference_mode()
def test_a_cache_that_grows_changes_no_bit(folder: Path) -> None:
    model = random_model(small_shape(n_kv_heads=2, context_length=700))
    found, ours = [], backend(model, folder)
    for reserved in (1, 700):
        cache = KVCache(model.shape, batch=1, capacity=700, device=torch.device("cpu"), dtype=ours.cache_dtype)
        cache.reserve(reserved)
        found.append(torch.cat([ours.step(7 * index % 97, cache) for index in range(600)]))
    assert torch.equal(*found)


def test_a_generator_says_the_same_with_it(folder: Path) -> None:
    """Through prompts that share beginnings, and over the end of the context."""
    model = random_model(small_shape(n_kv_heads=2))
    compiled, plain = Generator(model, backend(model, folder)), Generator(model)
    for prompt in ([5, 17, 42], [5, 17, 42, 3, 9], [70]):
        for sampling in (SamplingParams(temperature=0.0), SamplingParams(temperature=1.0, top_k=5)):
            said = [
                list(generator.decode(prompt, sampling=sampling, stops=StoppingCriteria(frozenset(), 40), seed=1))
                for generator in (compiled, plain)
            ]
            assert said[0] == said[1]


OPTIONS = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.05, 0.8, 3.0]),
    top_k=st.sampled_from([0, 1, 3, 50, 200]),
    top_p=st.sampled_from([1e-9, 0.3, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.1, 0.9]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.5]),
)


@given(
    values=st.lists(st.sampled_from([-80.0, -3.0, -0.5, 0.0, 0.5, 3.0, 3.0000002, 60.0]), min_size=97, max_size=97),
    seen=st.sets(st.integers(0, 96)),
    sampling=OPTIONS,
    uniform=st.floats(0, 1, exclude_max=True, width=32),
)
def test_it_picks_what_torch_picks(
    folder: Path, values: list[float], seen: set[int], sampling: SamplingParams, uniform: float
) -> None:
    model = random_model(small_shape())
    logits_BV, seen_BV = torch.tensor([values]), torch.zeros(1, 97, dtype=torch.bool)
    seen_BV[0, list(seen)] = True
    expected = int(sample(logits_BV.clone(), sampling, torch.tensor([uniform]), seen_BV))
    assert backend(model, folder).sample(logits_BV, sampling, uniform, seen_BV) == expected


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_predictions_that_are_no_numbers_are_refused(broken: float, folder: Path) -> None:
    logits_BV = torch.zeros(1, 97)
    logits_BV[0, 50] = broken
    seen_BV = torch.zeros(1, 97, dtype=torch.bool)
    with pytest.raises(DivergedError, match="not finite"):
        backend(random_model(small_shape()), folder).sample(logits_BV, SamplingParams(), 0.5, seen_BV)


def test_a_program_that_computes_something_else_is_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(DECODER.folder, tmp_path / "cpp")
    source = tmp_path / "cpp" / "norm.h"
    wrong = source.read_text("utf-8").replace("first * cosine - second * sine", "first * cosine - second * cosine")
    source.write_text(wrong, "utf-8")
    monkeypatch.setattr("nima_cli.engine.kernels.decoder.DECODER", replace(DECODER, folder=tmp_path / "cpp"))
    model = random_model(small_shape())
    with pytest.raises(NoProgramError, match="something else than torch"):
        native_backend(model, folder)
    assert len(list(folder.glob("decode-*.so"))) == 2
