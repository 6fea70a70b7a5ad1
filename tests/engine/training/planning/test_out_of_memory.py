"""When memory runs out: what the user is told, and going on in smaller pieces with the same learning."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.files import LAST
from nima_cli.engine.training.planning.out_of_memory import is_out_of_memory
from nima_cli.engine.training.trainer import Trainer
from nima_cli.errors import ResourceError
from nima_cli.events import Event, Note
from tests.engine.training.runs import (
    losses,
    make_config,
    make_trainer,
    run_to_end,
    same_tensors,
    steps,
    stop_after,
    weights,
)

SMALL: dict[str, Any] = {"max_steps": 12, "early_stopping": {"enabled": False}}


def limit_rows(trainer: Trainer, rows: int, *, from_step: int = 0) -> None:
    """From now on more than `rows` rows in a pass of training do not fit, which is noticed half-way through it."""

    def refuse(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if trainer.model.training and len(inputs[0]) > rows and trainer.step >= from_step:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    trainer.model.layers[1].register_forward_pre_hook(refuse)


def limited(trainer: Trainer, rows: int, **when: int) -> list[Event]:
    limit_rows(trainer, rows, **when)
    return list(trainer.run())


def notes(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Note)]


@pytest.mark.parametrize(("rows", "parts"), [(2, 2), (1, 4)])
def test_smaller_pieces_learn_the_same(rows: int, parts: int, tiny_dataset: Path, tmp_path: Path) -> None:
    config = make_config(**SMALL)
    plain = run_to_end(config, tiny_dataset, tmp_path / "plain")
    events = limited(make_trainer(config, tiny_dataset, tmp_path / "limited"), rows, from_step=3)
    told = [message for message in notes(events) if "not enough memory" in message]
    assert told == [
        f"step 4: not enough memory: going on with {rows} rows at once instead of 4, accumulated {2 * parts} times "
        "instead of 2: the same rows in each step, the same learning"
    ]
    assert [event.step for event in steps(events)] == list(range(1, 13))
    for one, other in zip(steps(plain), steps(events), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5), "dropout and all"
    assert checkpoints.load(tmp_path / "limited" / LAST).header["parts"] == parts


@pytest.mark.parametrize("auto_batch", [True, False])
def test_where_no_smaller_piece_helps_layers_are_computed_twice(
    auto_batch: bool, tiny_dataset: Path, tmp_path: Path
) -> None:
    config = make_config(auto_batch=auto_batch, **SMALL)
    trainer = make_trainer(config, tiny_dataset, tmp_path / "limited")

    def refuse(*_: object) -> None:
        if trainer.model.training and not trainer.state.train_step.recompute:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    trainer.model.layers[1].register_forward_pre_hook(refuse)
    events = list(trainer.run())
    assert "step 1: not enough memory: the layers are computed twice from now on, a third slower" in notes(events)
    assert trainer.state.train_step.micro_batches == (4 if auto_batch else 1)
    plain = run_to_end(config, tiny_dataset, tmp_path / "plain")
    for one, other in zip(steps(plain), steps(events), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)


def test_layers_are_not_computed_twice_where_that_is_off(tiny_dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(make_config(recompute="off"), tiny_dataset, tmp_path)
    with pytest.raises(ResourceError):
        limited(trainer, 0)
    assert not trainer.state.train_step.recompute


def test_a_resumed_run_starts_with_the_pieces_that_fitted(tiny_dataset: Path, tmp_path: Path) -> None:
    config = make_config(auto_batch=True, **SMALL)
    whole = limited(make_trainer(config, tiny_dataset, tmp_path / "whole"), 2)
    trainers: list[Trainer] = []
    trainers.append(make_trainer(config, tiny_dataset, tmp_path / "parts", should_stop=stop_after(trainers, 7)))
    events = limited(trainers[0], 2)
    resumed = limited(make_trainer(config, tiny_dataset, tmp_path / "parts", resume=LAST), 2)
    assert notes(resumed) == []
    assert losses([*events, *resumed]) == losses(whole)
    assert same_tensors(weights(tmp_path / "parts" / LAST), weights(tmp_path / "whole" / LAST))


@pytest.mark.parametrize(
    ("keys", "rows", "hint"),
    [
        (
            {"auto_batch": False},
            2,
            "`training.batch_size: 2` with `training.gradient_accumulation_steps: 4` learns the same",
        ),
        ({"auto_batch": False, "batch_size": 3}, 2, "use a smaller `training.batch_size` or model"),
        ({}, 0, "not even one row at a time fits: use a smaller `model.context_length` or model"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(
    keys: dict[str, Any], rows: int, hint: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(make_config(**keys), tiny_dataset, tmp_path)
    size = keys.get("batch_size", 4)
    with pytest.raises(ResourceError) as failure:
        limited(trainer, rows)
    assert failure.value.exit_code == 4
    assert failure.value.message == f"not enough memory for batch_size {size} (accumulation 2) at context_length 32"
    assert hint in (failure.value.hint or "")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB, other allocations: 1 KB, max allowed: 9 GB)"),
        RuntimeError("Invalid buffer size: 24.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:80] DefaultCPUAllocator: not enough memory: you tried to allocate 9"
        ),
        RuntimeError("unable to mmap 12 bytes from file <x>: Cannot allocate memory (12)"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
)
def test_every_allocator_s_way_to_refuse_is_known(error: Exception, tiny_dataset: Path, tmp_path: Path) -> None:
    assert is_out_of_memory(error)
    trainer = make_trainer(make_config(auto_batch=False), tiny_dataset, tmp_path)

    def refuse(*_: object) -> None:
        raise error

    trainer.model.norm.register_forward_hook(refuse)
    with pytest.raises(ResourceError, match=r"^not enough memory for batch_size 4"):
        list(trainer.run())


def test_a_run_may_begin_in_pieces_and_keeps_them_when_it_goes_back(tiny_dataset: Path, tmp_path: Path) -> None:
    config = make_config(**SMALL)
    plain = run_to_end(config, tiny_dataset, tmp_path / "plain")
    events = limited(make_trainer(config, tiny_dataset, tmp_path / "pieces", micro_batches=2), 2)
    assert notes(events) == []
    for one, other in zip(steps(plain), steps(events), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
    resumed = make_trainer(config, tiny_dataset, tmp_path / "pieces", resume=LAST)
    assert resumed.state.train_step.micro_batches == 2
    assert (
        make_trainer(
            config, tiny_dataset, tmp_path / "pieces", resume=LAST, micro_batches=4
        ).state.train_step.micro_batches
        == 4
    )


def test_another_failure_is_no_lack_of_memory(tiny_dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(make_config(auto_batch=True), tiny_dataset, tmp_path)

    assert not is_out_of_memory(ValueError("out of memory"))

    def fail(*_: object) -> None:
        raise RuntimeError("the device is gone")

    trainer.model.norm.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="the device is gone"):
        list(trainer.run())


def test_an_evaluation_that_does_not_fit_is_told_too(tiny_dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(make_config(), tiny_dataset, tmp_path)

    def refuse(*_: object) -> None:
        if not trainer.model.training:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")

    trainer.model.norm.register_forward_hook(refuse)
    with pytest.raises(ResourceError, match=r"^step 5: not enough memory to evaluate the model$"):
        list(trainer.run())
