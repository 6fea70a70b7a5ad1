"""Kernels that compute something else than torch are not trusted."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.files import LAST
from nima_cli.engine.device import Device, pick_device
from nima_cli.engine.kernels.integers import PackedMatrix
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.trust import (
    Trusted,
    gains_from_int8,
    kernels_agree,
    multiplies_int8,
    precision,
    trusted_kernels,
)
from nima_cli.engine.training.loss import linear_cross_entropy
from nima_cli.engine.training.session import Session, open_session, train
from nima_cli.errors import DeviceError
from nima_cli.events import Note
from tests.engine.training.runs import make_config

METHODS = [
    name
    for name in dir(Kernels)
    if not name.startswith("_")
    and callable(getattr(Kernels, name))
    and name not in ("supports", "alone", "empty_packed", "call", "ask")
]
# Those that `functions.py` calls without a method.
CALLED = (
    "add_norm", "add_norm_gradient", "swiglu", "swiglu_gradient", "drop", "split_heads", "split_heads_gradient",
    "attention", "attention_gradient",
)  # fmt: skip


def kernels_with(name: str, kernels: Kernels, int8_kernels: Kernels) -> Kernels:
    """Some that compute with this method."""
    with_int8 = "quantize" in name or name in ("multiply", "linear_cross_entropy")
    chosen = copy(int8_kernels if with_int8 else kernels)
    chosen.attends = name.startswith("attention")
    return chosen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_good_kernels_are_trusted(compiled_kernels: Kernels, int8_kernels: Kernels, dtype: torch.dtype) -> None:
    before = torch.get_rng_state()
    assert kernels_agree(compiled_kernels, dtype, linear_cross_entropy)
    assert kernels_agree(int8_kernels, dtype, linear_cross_entropy)
    assert torch.equal(torch.get_rng_state(), before)


def tensors_in(given: Any) -> Iterator[torch.Tensor]:
    """Of factors, their scales."""
    if isinstance(given, torch.Tensor):
        yield given
    elif isinstance(given, PackedMatrix):
        yield from tensors_in(given.scales)
    elif isinstance(given, (tuple, list)):
        for part in given:
            yield from tensors_in(part)


def spoilt(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same method, with one number wrong of what it gives or, where it gives nothing, of what it fills."""

    def wrong(*arguments: Any, **named: Any) -> Any:
        found = method(*arguments, **named)
        tensor = [*tensors_in(arguments), *tensors_in(found)][-1]
        tensor[(0,) * (tensor.ndim - 1)][3] = 50.0
        return found

    return wrong


def spoil(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make one kernel wrong, be it a method or a function of the program."""
    if name in METHODS:
        monkeypatch.setattr(Kernels, name, spoilt(getattr(Kernels, name)))
        return
    call = Kernels.call

    def wrong(kernels: Kernels, called: str, *arguments: Any) -> None:
        (spoilt(call) if called == name else call)(kernels, called, *arguments)

    monkeypatch.setattr(Kernels, "call", wrong)


@pytest.mark.parametrize("name", [*METHODS, *CALLED])
def test_a_kernel_with_one_wrong_number_is_noticed(
    compiled_kernels: Kernels, int8_kernels: Kernels, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = kernels_with(name, compiled_kernels, int8_kernels)
    dtype = torch.bfloat16 if kernels.attends else torch.float32
    assert kernels_agree(kernels, dtype, linear_cross_entropy)
    spoil(name, monkeypatch)
    assert not kernels_agree(kernels, dtype, linear_cross_entropy)


def trusted(compiled: Path | None, mixed_precision: bool | str, **hardware: str) -> Trusted:
    """Where the processor multiplies 8-bit integers, in bfloat16."""
    config = make_config(use_mixed_precision=mixed_precision)
    config = config.model_copy(update={"hardware": config.hardware.model_copy(update=hardware)})
    features = {"avx512_vnni": True}
    return trusted_kernels(pick_device("cpu", "bf16"), config, compiled, linear_cross_entropy, features=features)


def test_where_only_int8_is_wrong_the_other_kernels_are_used(
    compiled: Path, int8_kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert precision("bfloat16", trusted(compiled, True).kernels) == "bfloat16 and int8"
    monkeypatch.setattr(Kernels, "quantize_rows", spoilt(Kernels.quantize_rows))
    found = trusted(compiled, True)
    assert found.kernels is not None
    assert not found.kernels.int8
    assert precision("bfloat16", found.kernels) == "bfloat16"
    (note,) = found.notes
    assert note.message == "training in bfloat16, about a third slower: products of int8 are wrong on this machine"
    with pytest.raises(DeviceError, match="compute something else than torch"):
        trusted(compiled, "int8")


@pytest.mark.usefixtures("int8_kernels")
@pytest.mark.parametrize(("compiler", "have"), [("none", True), ("auto", False)])
def test_int8_by_name_needs_kernels(compiled: Path, compiler: str, have: bool) -> None:
    with pytest.raises(DeviceError, match="needs kernels that are compiled on this machine") as caught:
        trusted(compiled if have else None, "int8", compiler=compiler)
    assert caught.value.hint is not None
    assert trusted(compiled, "int8").kernels is not None


def test_int8_by_name_is_for_processors_that_have_it(compiled: Path) -> None:
    for place, features in (("cpu", {"avx2": True}), ("meta", {"avx512_vnni": True})):
        device = Device(torch.device(place), torch.bfloat16)
        with pytest.raises(DeviceError, match="needs a processor with") as caught:
            trusted_kernels(
                device, make_config(use_mixed_precision="int8"), compiled, linear_cross_entropy, features=features
            )
        assert (caught.value.exit_code, caught.value.hint) == (4, "use `true`")


ZEN_4 = ("avx512_bf16", "avx512_vnni")
SAPPHIRE_RAPIDS = (*ZEN_4, "amx_tile", "amx_bf16", "amx_int8")


@pytest.mark.parametrize(
    ("features", "multiplies", "gains"),
    [
        (ZEN_4, True, True),
        (SAPPHIRE_RAPIDS, True, False),
        ((*ZEN_4, "amx_tile"), True, False),
        (("avx512_vnni",), True, True),
        (("avx512_bf16",), False, False),
        (("avx2",), False, False),
        ((), False, False),
    ],
)
def test_int8_is_used_where_it_was_measured_to_gain(features: Sequence[str], multiplies: bool, gains: bool) -> None:
    """AMX's bfloat16 is faster than int8 with what goes on around that."""
    known = {**dict.fromkeys((*SAPPHIRE_RAPIDS, "avx2"), False), **dict.fromkeys(features, True)}
    assert (multiplies_int8(known), gains_from_int8(known)) == (multiplies, gains)


def test_a_run_goes_on_without_kernels_that_are_wrong(
    tiny_dataset: Path, tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(make_config(max_steps=1), tiny_dataset, tmp_path / "good", compiled=compiled)
    list(train(open_session(session)))
    assert checkpoints.load(tmp_path / "good" / LAST).header["compiled"] == "kernels"
    spoil("swiglu", monkeypatch)
    session = Session(make_config(max_steps=1), tiny_dataset, tmp_path / "wrong", compiled=compiled)
    notes = [event for event in train(open_session(session)) if isinstance(event, Note)]
    assert [(note.level, note.message) for note in notes if note.level == "warning"] == [
        (
            "warning",
            "training with torch alone, about half as fast: "
            "nima's kernels compute something else than torch on this machine",
        )
    ]
    assert checkpoints.load(tmp_path / "wrong" / LAST).header["compiled"] is None
