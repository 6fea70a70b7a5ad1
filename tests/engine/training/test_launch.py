"""How many processes a config asks for, and joining them."""

import pytest

from nima_cli.config.schema import HardwareConfig
from nima_cli.engine.training.launch import process_count
from nima_cli.engine.training.ranks import SINGLE, joined
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


def test_without_a_launcher_a_process_is_alone() -> None:
    with joined({}, device="cpu", backend="auto") as ranks:
        assert ranks is SINGLE
        assert ranks.is_first
        assert (ranks.sum_int(3), ranks.max_int(3)) == (3, 3)


def test_nccl_without_a_gpu_is_refused() -> None:
    environ = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    with pytest.raises(DeviceError, match="needs CUDA GPUs"), joined(environ, device="cpu", backend="nccl"):
        pass


def test_one_launched_process_talks_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    environ = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with joined(environ, device="cpu", backend="auto") as ranks:
        assert (ranks.rank, ranks.world_size) == (0, 1)
        tensor = torch.ones(3)
        ranks.sum_tensors_([tensor])
        ranks.barrier()
        assert tensor.tolist() == [1.0, 1.0, 1.0]
    assert not torch.distributed.is_initialized()
