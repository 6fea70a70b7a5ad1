"""Recognises that memory has run out, and says what needs less."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nima_cli.engine.training.run_spec import RunPlan
from nima_cli.errors import ResourceError

# Torch has a class for its allocator on CUDA; all else says in words only that memory ran out.
_SAYINGS = (
    "can't allocate memory",  # torch's allocator on a CPU, on Linux
    "not enough memory: you tried to allocate",  # the same elsewhere
    "cannot allocate memory",  # the system
    "out of memory",  # MPS's allocator, CUDA's runtime and driver
    "invalid buffer size",  # MPS, of a tensor that no buffer of the GPU can hold
    "alloc_failed",  # cuBLAS, cuDNN and their like
    "bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, on any device, means out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(saying in said for saying in _SAYINGS)


def release(device: torch.device) -> None:
    """Free what the allocator keeps, so that smaller pieces find room."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@contextmanager
def explained(failure: ResourceError) -> Iterator[None]:
    """Turn a failure of memory inside the block into `failure`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise failure from error


def describe_micro_batches(plan: RunPlan, world_size: int, micro_batches: int) -> str:
    """Describe the work of a process that computes its share of each batch in so many micro-batches."""
    share, accumulation = plan.batch_size // world_size, plan.accumulation
    return (
        f"going on with {-(-share // micro_batches)} rows at once instead of {share}, accumulated "
        f"{accumulation * micro_batches} times instead of {accumulation}: the same rows in each step, the same learning"
    )


def no_room_to_train(plan: RunPlan, *, auto_batch: bool) -> ResourceError:
    """The failure of a step, with settings that learn the same in less memory; `auto_batch` has tried single rows."""
    batch, accumulation, context = plan.batch_size, plan.accumulation, plan.context_length
    if auto_batch:
        hint = "not even one row at a time fits: use a smaller `model.context_length` or model"
    elif batch % 2:
        hint = "use a smaller `training.batch_size` or model, or `training.auto_batch: true`"
    else:
        hint = (
            f"`training.batch_size: {batch // 2}` with `training.gradient_accumulation_steps: {accumulation * 2}` "
            "learns the same with less memory; `training.auto_batch: true` finds such a pair by itself"
        )
    return ResourceError(
        f"not enough memory for batch_size {batch} (accumulation {accumulation}) at context_length {context}",
        hint=hint,
    )
