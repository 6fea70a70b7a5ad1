"""Each kernel against the same function in float64, for sizes that are and are not whole vectors of the program."""

from ctypes import Structure, c_int64
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nima_cli.engine.kernels import kernels as module
from nima_cli.engine.kernels import native
from nima_cli.engine.kernels.build import NoProgramError
from nima_cli.engine.kernels.functions import AddNorm, SwiGLU
from nima_cli.engine.kernels.integers import Layout
from nima_cli.engine.kernels.kernels import Kernels, load_kernels
from tests.engine.kernels.near import EPSILON, IGNORE, assert_near, dtypes, exact, gradients_of, numbers
from tests.engine.kernels.whole import numbers_of


@dtypes
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 5), (16, 48), (7, 300)])
def test_causal_softmax(compiled_kernels: Kernels, rows: int, columns: int, dtype: torch.dtype) -> None:
    scores_NSE, grad_NSE = (numbers(3, rows, columns, dtype=dtype, seed=seed) * 4 for seed in (0, 1))
    hidden_SE = torch.ones(rows, columns, dtype=torch.bool).triu(columns - rows + 1)
    wide = exact(scores_NSE)
    expected = torch.softmax(wide.masked_fill(hidden_SE, float("-inf")), dim=-1)
    probs_NSE = compiled_kernels.causal_softmax_(scores_NSE.clone())
    assert_near(probs_NSE, expected)
    assert not probs_NSE[:, hidden_SE].any()
    torch.autograd.backward(expected, grad_NSE.double())
    assert wide.grad is not None
    assert_near(compiled_kernels.causal_softmax_gradient_(probs_NSE, grad_NSE), wide.grad, factor=2)


@dtypes
@pytest.mark.parametrize("vocabulary", [1, 16, 67, 1000])
def test_cross_entropy(compiled_kernels: Kernels, vocabulary: int, dtype: torch.dtype) -> None:
    logits_NV = numbers(9, vocabulary, dtype=dtype) * 5
    targets_N = torch.arange(9) * 7 % vocabulary
    targets_N[3] = IGNORE
    wide = exact(logits_NV)
    expected = F.cross_entropy(wide, targets_N, ignore_index=IGNORE, reduction="none")
    expected.sum().backward()  # type: ignore[no-untyped-call]
    grad_NV = logits_NV.clone()
    assert_near(compiled_kernels.cross_entropy_(grad_NV, targets_N, ignored=IGNORE), expected)
    assert wide.grad is not None
    assert_near(grad_NV, wide.grad)


def test_cross_entropy_bears_great_logits_and_refuses_foreign_targets(compiled_kernels: Kernels) -> None:
    logits_NV = torch.tensor([[1e30, -1e30, 0.0], [200.0, 0.0, -200.0], [0.0, 0.0, 0.0], [float("nan"), 0.0, 0.0]])
    losses_N = compiled_kernels.cross_entropy_(logits_NV, torch.tensor([0, 2, 3, 1]), ignored=IGNORE)
    assert losses_N[:2].tolist() == [0.0, 400.0]
    assert losses_N[2:].isnan().all()
    assert logits_NV[:2].tolist() == [[0.0, 0.0, 0.0], [1.0, 0.0, -1.0]]
    assert logits_NV[3].isnan().all()


@dtypes
def test_accumulate(compiled_kernels: Kernels, dtype: torch.dtype) -> None:
    whole, part = numbers(6, 9, 5, dtype=torch.float32), numbers(6, 4, 5, dtype=dtype, seed=1)
    expected = whole.clone()
    expected[:, :4] += part
    compiled_kernels.accumulate_(whole[:, :4], part)
    assert torch.equal(whole, expected)


def test_the_number_of_threads_changes_no_bit(compiled_kernels: Kernels) -> None:
    def gradients(threads: int) -> list[torch.Tensor]:
        torch.set_num_threads(threads)
        x, grad = (numbers(333, 40, dtype=torch.float32, seed=seed) for seed in range(2))
        gain = torch.ones(40)
        scores = compiled_kernels.causal_softmax_(x.view(9, 37, 40).clone())
        (factor,) = compiled_kernels.quantize_columns(x, Layout.RIGHT, factors_N=grad[:, 0].contiguous())
        return [
            scores,
            numbers_of(compiled_kernels, factor, on_the_left=False),
            *gradients_of(AddNorm, [grad], x, None, gain, EPSILON, compiled_kernels),
            *gradients_of(SwiGLU, [grad[:, :20]], x, compiled_kernels),
        ]

    before = torch.get_num_threads()
    try:
        results = [gradients(threads) for threads in (1, 2, 5)]
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_they_share_torchs_threads(compiled_kernels: Kernels) -> None:
    """Two runtimes in one process would wait for work on the same cores, each in its own busy loop."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux says what is loaded")
    loaded = {line.split()[-1] for line in maps.read_text("utf-8").splitlines()}
    (ours,) = {name for name in loaded if Path(name).name.startswith("kernels-")}
    assert b"libgomp.so" not in Path(ours).read_bytes()
    assert b"libomp.so" not in Path(ours).read_bytes()


def test_without_a_folder_there_are_none() -> None:
    with pytest.raises(NoProgramError, match="/proc/nowhere"):
        load_kernels(Path("/proc/nowhere"))


def test_a_structure_that_python_sees_otherwise_is_noticed(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a kernel would take a length for an address."""

    class Attention(Structure):
        _fields_ = (*native.Attention._fields_, ("more", c_int64))

    monkeypatch.setattr(native, "Attention", Attention)
    with pytest.raises(NoProgramError, match="`Attention` has 40 bytes in C\\+\\+ and 48 in Python"):
        load_kernels(compiled)


def test_each_structure_that_is_handed_over_is_compared(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a function of the program takes the address of."""
    compared: set[type[Structure]] = set()
    monkeypatch.setattr(native, "check_sizes", lambda program, structures: compared.update(structures))
    load_kernels(compiled)
    types: list[Any] = [kind for given in native.SIGNATURES.values() for kind in given]
    pointed = [kind._type_ for kind in types if isinstance(getattr(kind, "_type_", None), type)]
    assert compared == {kind for kind in pointed if issubclass(kind, Structure)}
    assert len(compared) == 6


def test_a_program_that_cannot_be_loaded_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "kernels.so"
    broken.write_bytes(b"no program")
    monkeypatch.setattr(module, "library", lambda program, folder: broken)
    with pytest.raises(NoProgramError, match="cannot be loaded"):
        load_kernels(tmp_path)
