"""Layers that torch compiles compute what they computed before, and only runs that are long enough are compiled for."""

import gc
import weakref
from pathlib import Path
from typing import Literal

import pytest
import torch

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.files import LAST
from nima_cli.engine.kernels.convert import compile_problems, convert, worth_compiling
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.session import Session, open_session, train
from nima_cli.events import StepDone
from tests.cli.programs import CONFIG, rows
from tests.conftest import RunCli
from tests.engine.small_models import random_model, small_shape
from tests.engine.training.runs import make_config

# torch's compiler uses what torch itself calls deprecated, and asks a tensor for a gradient that it cannot have.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute of a Tensor")

IDS = torch.arange(3 * 16).reshape(3, 16) % 7


def gradients(model: GPT) -> dict[str, torch.Tensor]:
    """Of some function of the states, by parameter."""
    model.train()
    model.zero_grad()
    model.drop.seed(1, range(3), torch.device("cpu"))
    model.hidden(IDS).float().pow(3).mean().backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_one_program_serves_all_layers_and_computes_the_same() -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()  # another test may have compiled the very program
    model = random_model(small_shape(), dropout=0.2)
    expected = gradients(model)
    counters.clear()
    assert convert(model, "torch") == "torch"
    found = gradients(model)
    assert len(model.layers) > 1
    assert counters["stats"]["unique_graphs"] == 1
    assert compile_problems() == []
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_run_is_compiled_for_where_it_is_asked_for(tiny_dataset: Path, tmp_path: Path) -> None:
    config = make_config(max_steps=2)
    losses = {}
    for wanted in ("none", "torch"):
        settings = config.model_copy(update={"hardware": config.hardware.model_copy(update={"compiler": wanted})})
        session = Session(settings, tiny_dataset, tmp_path / wanted)
        losses[wanted] = [event.loss for event in train(open_session(session)) if isinstance(event, StepDone)]
        header = checkpoints.load(tmp_path / wanted / LAST).header
        assert header["compiled"] == (wanted if wanted == "torch" else None)
    assert losses["torch"] == pytest.approx(losses["none"], rel=1e-4)


@pytest.mark.slow
def test_without_a_compiler_the_layers_run_as_they_are_and_a_run_says_so_once(
    run_cli: RunCli, tiny_dataset: Path, tmp_path: Path
) -> None:
    # In a process of its own, for torch remembers the compiler that it found.
    (tmp_path / "tiny.yaml").write_text(CONFIG, "utf-8")
    env = {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    ran = run_cli(
        "train", "-c", tmp_path / "tiny.yaml", "--data", tiny_dataset, "--output-dir", tmp_path / "run",
        "--max-steps", "2", "--set", "model.n_layers=1", "--set", "evaluation.generation.enabled=false",
        "--set", "hardware.compiler=torch", env=env,
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    assert ran.stderr.count("warning: torch cannot compile the layers") == 1
    assert "Traceback" not in ran.stderr
    first, second = (float(str(row["loss"])) for row in rows(tmp_path / "run", "step"))
    assert second < first < 7


def test_only_long_runs_on_a_gpu_pay_for_it() -> None:
    minute = 60 * 2e14
    assert worth_compiling(torch.device("cuda", 0), 10 * minute)
    assert not worth_compiling(torch.device("cuda", 0), minute)
    assert not worth_compiling(torch.device("cpu"), 1000 * minute)


@pytest.mark.parametrize("how", ["torch", None])
def test_evaluation_and_inference_run_the_plain_model(how: Literal["torch"] | None) -> None:
    plain, converted = (random_model(small_shape(n_kv_heads=2)) for _ in range(2))
    convert(converted, how)
    with torch.no_grad():
        assert torch.equal(plain(IDS), converted(IDS))
    assert list(converted.state_dict()) == list(plain.state_dict())


def test_without_a_compiler_a_cpu_trains_with_attention_in_blocks() -> None:
    shape = small_shape(n_kv_heads=2)
    plain, converted = random_model(shape), random_model(shape)
    assert convert(converted, None) is None
    expected, found = gradients(plain), gradients(converted)
    assert any(not torch.equal(found[name], expected[name]) for name in expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", ["kernels", "torch", None])
def test_a_converted_model_is_freed_with_the_last_reference_to_it(
    how: Literal["kernels", "torch"] | None, request: pytest.FixtureRequest
) -> None:
    """Not when memory happens to be swept: a run that goes back builds another one at once."""
    kernels: Kernels | None = request.getfixturevalue("compiled_kernels") if how == "kernels" else None
    model = random_model(small_shape())
    assert convert(model, kernels or ("torch" if how == "torch" else None)) == how
    if how != "torch":
        gradients(model)
    parts = [weakref.ref(part) for part in (model, model.layers[0], model.norm.weight)]
    gc.disable()
    try:
        del model
        assert [part() for part in parts] == [None] * 3
    finally:
        gc.enable()
