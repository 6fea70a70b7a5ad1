"""Has torch compile the blocks of a model for training, and says where that pays; knows no run.

One program serves all layers ("regional compilation"), because they differ in nothing but their weights: it takes
seconds where compiling the whole model takes minutes. What torch cannot compile here it runs as it is.
"""

import logging

import torch

from nima_cli.engine.model.gpt import GPT, Block

# Compiling takes about half a minute and gains about a fifth, so it pays where a run takes some minutes. A GPU of the
# last years reaches this rate in 16 bit.
_GPU_RATE = 2e14  # floating-point operations a second
_PAYS_AFTER = 180.0  # seconds


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
    model.compiled_block = torch.compile(Block.through, dynamic=False)
