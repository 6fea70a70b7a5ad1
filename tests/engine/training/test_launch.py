"""How many processes a config asks for."""

import pytest
import torch

from nima_cli.config.schema import HardwareConfig
from nima_cli.engine.training.launch import process_count
from nima_cli.errors import DeviceError


def hardware(**keys: object) -> HardwareConfig:
    return HardwareConfig.model_validate(keys)


def test_one_process_unless_asked_for_more() -> None:
    assert process_count(hardware()) == 1
    assert process_count(hardware(gpu_ids=[0, 1])) == 1


def test_one_process_per_entry() -> None:
    assert process_count(hardware(distributed=True, gpu_ids=[0, 1, 2], device="cpu")) == 3


def test_nothing_to_spread_over_is_refused() -> None:
    with pytest.raises(DeviceError, match="finds no GPU to spread over") as refused:
        process_count(hardware(distributed=True, device="cpu"))
    assert refused.value.exit_code == 4


def test_nccl_without_a_gpu_is_refused() -> None:
    with pytest.raises(DeviceError, match="needs CUDA GPUs"):
        process_count(hardware(distributed=True, gpu_ids=[0, 1], device="cpu", backend="nccl"))


def test_more_gpus_than_the_machine_has_are_refused() -> None:
    absent = torch.cuda.device_count() + 1
    with pytest.raises(DeviceError, match=f"GPU {absent} was asked for"):
        process_count(hardware(distributed=True, gpu_ids=[absent], device="cuda"))
