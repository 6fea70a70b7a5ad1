"""A device that is not there, `standin`, in the place of Apple's: torch takes it for one, and the CPU computes for it.

What a real device of that kind would refuse is refused: float64, and CPU tensors among its own. What it would compute
otherwise, or has no function for, does not show; the functions that reached it are kept for that to be looked at.

To be imported in a process of its own: torch never forgets a device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "standin"
# Functions that are there to take numbers from one device to another.
_BETWEEN_DEVICES = ("aten::to", "aten::_to_copy", "aten::copy_", "aten::_local_scalar_dense")


class RefusedError(Exception):
    """What a device without float64, apart from the CPU, cannot do."""


class _Held(torch.Tensor):
    """A tensor of the device: where it says it is, and the numbers in the CPU's memory."""

    numbers: torch.Tensor

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> "_Held":
        held: _Held = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=torch.device(NAME, 0),
        )
        held.numbers = numbers
        return held

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _call(function, *args, **(kwargs or {}))


REACHED: set[str] = set()  # names of the functions that were called with tensors of the device


@torch.inference_mode(mode=False)  # tensors that are made in that mode have no version, and wrapping asks for it
@torch.no_grad()
def _call(function: Any, *args: Any, **kwargs: Any) -> Any:
    """What the device does when torch calls a function on it."""
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    held = {id(tensor.numbers): tensor for tensor in tensors if isinstance(tensor, _Held)}
    wanted = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
    stays = bool(held) if wanted is None else wanted.type == NAME

    def fetch(leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            return torch.device("cpu")
        return leaf.numbers if isinstance(leaf, _Held) else leaf

    args, kwargs = tree_map(fetch, (args, kwargs))
    found = function(*args, **kwargs)
    if held or stays:
        _check(function, tensors, found)

    def place(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if id(leaf) in held:  # changed in place, or taken to where its numbers happen to be
            return held[id(leaf)] if stays else leaf.clone()
        return _Held(leaf) if stays else leaf

    return tree_map(place, found)


def _check(function: Any, tensors: list[torch.Tensor], found: Any) -> None:
    REACHED.add(str(function))
    results = [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]
    if any(tensor.dtype is torch.float64 for tensor in [*tensors, *results]):
        raise RefusedError(f"{function} with float64 on a device that has none")
    apart = [tensor for tensor in tensors if not isinstance(tensor, _Held) and tensor.ndim]
    if apart and function._schema.name not in _BETWEEN_DEVICES:
        raise RefusedError(f"{function} with a tensor that is still on the CPU")


class _Everywhere(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What makes a tensor of no other one is not called on a tensor."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(function, *args, **(kwargs or {}))


@contextmanager
def stand_in() -> Iterator[None]:
    """Inside the block `torch.device("standin")` can be computed on."""
    torch._C._set_only_lift_cpu_tensors(True)  # else what is made of Python's numbers goes past the mode
    try:
        with _Everywhere():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(False)


_setup_privateuseone_for_python_backend(NAME)  # before the first backward pass, which counts the devices there are
