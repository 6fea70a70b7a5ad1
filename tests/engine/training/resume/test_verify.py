"""The proof of exact resumption on the user's machine: it passes where it should, and sees a difference."""

import tempfile
from pathlib import Path

import pytest
import torch

from nima_cli.engine.device import Device, cpu_features
from nima_cli.engine.kernels.trust import multiplies_int8
from nima_cli.engine.training.resume import verify
from nima_cli.engine.training.resume.verify import HALF, any_order, shortened, verify_resume
from nima_cli.errors import DeviceError
from tests.engine.training.runs import make_config


def test_it_proves_the_config_and_leaves_nothing_behind(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    verdict = verify_resume(make_config(ema_decay=0.9, samples=True), tiny_dataset)
    assert verdict.identical, verdict.difference
    assert (verdict.steps, verdict.device, verdict.dtype, verdict.threads) == (2 * HALF, "cpu", "float32", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("compiled_kernels")
@pytest.mark.parametrize("precision", [False, "bf16", "int8"])
def test_a_run_with_compiled_kernels_is_resumed_exactly(
    tiny_dataset: Path, compiled: Path, precision: bool | str
) -> None:
    """Over two threads, whose shares of the work must change nothing."""
    if precision == "int8" and not multiplies_int8(cpu_features()):
        pytest.skip("this processor has no instructions for it")
    torch.set_num_threads(2)
    verdict = verify_resume(make_config(use_mixed_precision=precision), tiny_dataset, compiled)
    assert verdict.identical, verdict.difference
    assert ("int8" in verdict.dtype) == (precision == "int8")


def test_everything_that_could_disturb_lies_inside() -> None:
    short = shortened(make_config(batch_size=8, gradient_accumulation_steps=1, epochs=0.1, log_steps=50))
    training = short.training
    assert (training.batch_size, training.gradient_accumulation_steps) == (4, 2)
    assert (training.max_steps, training.eval_steps, training.log_steps) == (2 * HALF, 2, 1)
    assert HALF % 2 == 1, "the break must not be at an evaluation"
    odd = shortened(make_config(batch_size=3, gradient_accumulation_steps=1)).training
    assert (odd.batch_size, odd.gradient_accumulation_steps) == (3, 2)


def test_a_machine_that_computes_otherwise_the_second_time_is_seen(
    tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only this process computes with a disturbance; the fresh one, which goes on after the break, does not."""
    plain = torch.nn.functional.rms_norm

    def disturbed(x: torch.Tensor, *arguments: object) -> torch.Tensor:
        return plain(x, *arguments) * (1.0 + 1e-4)  # type: ignore[arg-type]

    monkeypatch.setattr("nima_cli.engine.model.gpt.F.rms_norm", disturbed)
    verdict = verify_resume(make_config(), tiny_dataset)
    assert not verdict.identical
    assert verdict.difference is not None
    assert verdict.difference.startswith(f"loss of step {HALF + 1}: 0x")
    assert verdict.to_dict()["identical"] is False


def test_sums_in_a_fixed_order_are_asked_for_where_the_device_has_none() -> None:
    cuda, cpu = (Device(torch.device(name), torch.float32) for name in ("cuda", "cpu"))
    assert (any_order(cuda), any_order(cpu)) == (True, False)
    config = make_config(samples=True)
    assert shortened(config).evaluation.generation.enabled
    assert not shortened(config, samples=False).evaluation.generation.enabled


def test_an_operation_without_a_fixed_order_is_named() -> None:
    refused = RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation, but you set ...")
    said = r"^resume cannot be verified here: cumsum_cuda_kernel does not have a deterministic"
    seen: list[bool] = []

    def compute() -> None:
        with verify._fixed_order():
            seen.append(torch.are_deterministic_algorithms_enabled())
            raise refused

    with pytest.raises(DeviceError, match=said):
        compute()
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_first_tensor_that_differs_is_named(tiny_dataset: Path, tmp_path: Path) -> None:
    from nima_cli.engine.checkpoint import file as checkpoints
    from nima_cli.engine.checkpoint.files import LAST
    from tests.engine.training.runs import run_to_end

    for name in ("whole", "parts"):
        run_to_end(make_config(max_steps=2), tiny_dataset, tmp_path / name)
    assert verify._tensor_difference(tmp_path / "whole", tmp_path / "parts") is None
    changed = checkpoints.load(tmp_path / "parts" / LAST)
    changed.model["norm.weight"][3] += 0.5
    checkpoints.save(tmp_path / "parts" / LAST, changed)
    assert (
        verify._tensor_difference(tmp_path / "whole", tmp_path / "parts") == "`model/norm.weight` differs by up to 0.5"
    )
