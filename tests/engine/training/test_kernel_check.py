"""Kernels that compute something else than torch are not trusted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine import checkpoint as checkpoints
from nima_cli.engine.checkpoint_files import LAST
from nima_cli.engine.native.kernels import Kernels
from nima_cli.engine.training.kernel_check import kernels_agree
from nima_cli.engine.training.session import Session, open_session, train
from tests.engine.training.runs import make_config

METHODS = [name for name in vars(Kernels) if not name.startswith("_") and name != "fit"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_good_kernels_are_trusted(compiled_kernels: Kernels, dtype: torch.dtype) -> None:
    before = torch.get_rng_state()
    assert kernels_agree(compiled_kernels, dtype)
    assert torch.equal(torch.get_rng_state(), before)


def spoilt(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same method, with one number wrong of what it gives or, where it gives nothing, of what it fills."""

    def wrong(*arguments: Any, **named: Any) -> Any:
        found = method(*arguments, **named)
        given = found if isinstance(found, tuple) else (found,)
        tensor = next(part for part in (*reversed(given), *reversed(arguments)) if isinstance(part, torch.Tensor))
        tensor[(0,) * (tensor.ndim - 1)][3] = 50.0
        return found

    return wrong


@pytest.mark.parametrize("name", METHODS)
def test_a_kernel_with_one_wrong_number_is_noticed(
    compiled_kernels: Kernels, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kernels, name, spoilt(getattr(Kernels, name)))
    assert not kernels_agree(compiled_kernels, torch.float32)


def test_a_run_goes_on_without_kernels_that_are_wrong(
    tiny_dataset: Path, tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(make_config(max_steps=1), tiny_dataset, tmp_path / "good", compiled=compiled)
    list(train(open_session(session)))
    assert checkpoints.load(tmp_path / "good" / LAST).header["compiled"] == "kernels"
    monkeypatch.setattr(Kernels, "swiglu", spoilt(Kernels.swiglu))
    session = Session(make_config(max_steps=1), tiny_dataset, tmp_path / "wrong", compiled=compiled)
    list(train(open_session(session)))
    assert checkpoints.load(tmp_path / "wrong" / LAST).header["compiled"] is None
