"""Has torch compile the blocks of a model for training, and says where that pays; knows no run.

One program serves all layers ("regional compilation"), because they differ in nothing but their weights: it takes
seconds where compiling the whole model takes minutes. What torch cannot compile here it runs as it is.
"""

import logging

import torch

from nima_cli.engine.model.gpt import GPT, Block
from nima_cli.events import Note

# Compiling takes about half a minute and gains about a fifth, so it pays where a run takes some minutes. A GPU of the
# last years reaches this rate in 16 bit.
_GPU_RATE = 2e14  # floating-point operations a second
_PAYS_AFTER = 180.0  # seconds
_REASON = 200  # characters of it are told


class _Problems(logging.Handler):
    """Keeps the first reason for which torch ran a layer as it is, instead of showing pages of each."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Take one message of torch's."""
        failure = record.exc_info[1] if record.exc_info else None
        text = f"{type(failure).__name__}: {failure}" if failure is not None else record.getMessage()
        self.first = self.first or next((line for line in text.splitlines() if line.strip()), "no reason given")


_PROBLEMS = _Problems()


def pays(device: torch.device, operations: float) -> bool:
    """Whether a run of so many floating-point operations on this device is long enough to compile for.

    A pure function of both, so that a run that is resumed computes as before. Never on a CPU, where the kernels of
    `engine/native` gain more and are compiled sooner.
    """
    return device.type == "cuda" and operations > _GPU_RATE * _PAYS_AFTER


def compile_blocks(model: GPT) -> None:
    """From its next training step on, the model runs each block as one compiled program."""
    import torch._dynamo.config

    torch._dynamo.config.suppress_errors = True
    logging.getLogger("torch._dynamo").setLevel(logging.CRITICAL)
    told = logging.getLogger("torch._dynamo.convert_frame")  # which says what was suppressed
    told.setLevel(logging.WARNING)
    told.propagate = False
    told.addHandler(_PROBLEMS)
    model.compiled_block = torch.compile(Block.through, dynamic=False)


def compile_problems() -> list[Note]:
    """Why torch did not compile layers, if it was to and did not, and what that costs; known after the first step."""
    first, _PROBLEMS.first = _PROBLEMS.first, ""
    if not first:
        return []
    return [Note("warning", f"torch cannot compile the layers, and runs them a fifth slower: {first[:_REASON]}")]
