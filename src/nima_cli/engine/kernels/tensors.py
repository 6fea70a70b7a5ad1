"""What a compiled program is told of a tensor: where it lies, in which type, and how far its rows are apart."""

import torch

KINDS = {torch.float32: 0, torch.bfloat16: 1}


def kind(*tensors: torch.Tensor) -> int:
    """The number of the type that all of them have."""
    (dtype,) = {tensor.dtype for tensor in tensors}
    return KINDS[dtype]


def address(tensor: torch.Tensor) -> int:
    """Of the first number; the others must follow it in order."""
    assert tensor.is_contiguous()
    assert tensor.device.type == "cpu"
    return tensor.data_ptr()


def address_or_null(tensor: torch.Tensor | None) -> int | None:
    """The same, and None for none."""
    return address(tensor) if tensor is not None else None


def row_stride(x_NC: torch.Tensor) -> int:
    """Numbers from one row of a matrix to the next; those of a row lie side by side."""
    assert x_NC.stride(1) == 1
    assert x_NC.device.type == "cpu"
    return x_NC.stride(0)


def position_stride(x_BTC: torch.Tensor) -> int:
    """Numbers from one position to the next; those of a position lie side by side."""
    assert x_BTC.stride(2) == 1
    assert x_BTC.stride(0) == x_BTC.shape[1] * x_BTC.stride(1)
    assert x_BTC.device.type == "cpu"
    return x_BTC.stride(1)


def rows_of(tensor: torch.Tensor) -> tuple[int, int]:
    """How many rows there are, over all axes but the last, and how wide they are."""
    return tensor.numel() // tensor.shape[-1], tensor.shape[-1]
