"""How many processes a config asks for."""

import os
import time
from pathlib import Path

import pytest
import torch

from nima_cli.config.schema import HardwareConfig
from nima_cli.engine.training.distributed.launch import launch, process_count, unused_settings
from nima_cli.engine.training.session import Session, open_session, train
from nima_cli.errors import DeviceError
from nima_cli.events import Note
from tests.engine.training.runs import make_config


def end_as_torch_does() -> None:
    """One of the processes is ended by a library inside torch; the other would go on for long."""
    if os.environ["RANK"] == "1":
        os.abort()
    time.sleep(60)


def test_a_process_that_torch_ends_is_a_failure_of_the_machine() -> None:
    with pytest.raises(DeviceError, match="training process 1 was ended by torch") as failed:
        launch(end_as_torch_does, (), processes=2)
    assert failed.value.exit_code == 4
    assert failed.value.hint == "go on with `resume=auto`"


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


def test_what_means_nothing_to_one_process_is_said_and_not_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    """Files that people share are written for other machines."""
    config = make_config(max_steps=1).model_copy(
        update={"hardware": hardware(device="cpu", distributed=False, gpu_ids=[2, 3], backend="nccl")}
    )
    events = list(train(open_session(Session(config, tiny_dataset, tmp_path / "run"))))
    notes = [event for event in events if isinstance(event, Note) and "hardware." in event.message]
    assert [(note.level, note.message) for note in notes] == [
        ("info", "`hardware.backend: nccl` is not used: one process trains alone"),
        ("info", "`hardware.gpu_ids` is not used: this run is not on a GPU"),
    ]


def test_what_means_something_is_not_said() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert list(unused_settings(hardware(), cpu, processes=1)) == []
    assert list(unused_settings(hardware(gpu_ids=[1]), gpu, processes=1)) == []
    assert list(unused_settings(hardware(gpu_ids=[0, 1], backend="gloo", distributed=True), cpu, processes=2)) == []
    (note,) = unused_settings(hardware(gpu_ids=[1, 2]), gpu, processes=1)
    assert note.message == "of `hardware.gpu_ids` only 1 is used: `hardware.distributed` is off"
