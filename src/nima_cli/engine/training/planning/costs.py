"""What a run needs in memory and on disk, by arithmetic; benchmarks/memory.py compares it with real runs."""

from collections import Counter
from dataclasses import dataclass
from math import prod

from nima_cli.config.schema import Config
from nima_cli.engine.kernels.blocked_attention import kept_numbers
from nima_cli.engine.model.lora import lora_of
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.training.evaluator import TOKENS_PER_BATCH
from nima_cli.engine.training.loss import positions_at_once

_HOST_BASE = 350_000_000  # Python, torch, its threads, and what the dataset's maps have in memory
_GPU_BASE = 300_000_000  # workspaces of the libraries, and what the allocator cannot use
# Vectors of the model's width, beside those of the MLP's, that one layer keeps of a position for the backward pass,
# counted with torch's hooks for saved tensors: in 16 bit torch's norms keep float32 on a CPU.
_KEPT_WIDTHS = {"kernels": 11, "torch float32": 14, "torch 16 bit": 22, "gpu": 16}
_BACKWARD_LAYERS = {"kernels": 1.0, "torch": 2.5}  # what a backward pass makes, in what a layer keeps: measured


@dataclass(frozen=True, slots=True)
class Means:
    """What a run computes with, as far as it costs memory: a device's type, and bytes of a number in activations."""

    processor: str
    bytes_per_number: int
    kernels: bool = False
    int8: bool = False
    processes: int = 1

    @property
    def on_cpu(self) -> bool:
        """Whether activations lie in the machine's own memory."""
        return self.processor == "cpu"


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that one process of a run needs on its device.

    Attributes:
        base: before there is a model.
        state: weights, their average, the optimizer.
        step: gradients, activations, and what the optimizer makes of the gradients.
        saving: the copy that is written as a checkpoint; 0 on a GPU, where the host has it.
    """

    base: int
    state: int
    step: int
    evaluation: int
    saving: int

    @property
    def peak(self) -> int:
        """Bytes needed at most."""
        return self.base + self.state + max(self.step, self.evaluation, self.saving)

    @property
    def peak_phase(self) -> str:
        """When: in `a step`, `an evaluation` or `writing a checkpoint`."""
        phases = {"a step": self.step, "an evaluation": self.evaluation, "writing a checkpoint": self.saving}
        return max(phases, key=phases.__getitem__)


def trained_parameters(shape: ModelShape, config: Config) -> int:
    """How many numbers a run changes: all of the model's, or those of its adapters."""
    lora = lora_of(config.training.lora)
    return sum(map(prod, lora.tensors(shape).values())) if lora is not None else shape.parameters()


def optimizer_bytes(shape: ModelShape, config: Config) -> int:
    """Bytes of the optimizer: AdamW keeps two float32 numbers per parameter, Muon one for each of its matrices."""
    trained = trained_parameters(shape, config)
    if config.training.optimizer == "adamw":
        return 8 * trained
    return 4 * trained if config.training.lora.enabled else 8 * trained - 4 * _block_matrices(shape)


def checkpoint_bytes(shape: ModelShape, config: Config) -> int:
    """Size of one resumable checkpoint: what is trained, perhaps its average, the optimizer, and frozen weights."""
    copies = 2 if config.training.ema_decay is not None else 1
    trained = copies * 4 * trained_parameters(shape, config) + optimizer_bytes(shape, config)
    per_number = 2 if config.training.use_mixed_precision else 4
    return trained + (per_number * shape.parameters() if config.training.lora.enabled else 0)


def memory(shape: ModelShape, config: Config, means: Means, *, sequences: int, recompute: bool = False) -> Memory:
    """Bytes for one process that computes so many sequences at once; `recompute` computes layers twice."""
    held = checkpoint_bytes(shape, config)
    positions = sequences * shape.context_length
    return Memory(
        base=_HOST_BASE if means.on_cpu else _GPU_BASE,
        state=held + (2 * _block_matrices(shape) if means.int8 else 0),  # int8 weights in the forms of both passes
        # A pass and an update follow each other, but what the one has freed is in pieces too small for the other.
        step=4 * trained_parameters(shape, config)
        + _pass_bytes(shape, config, means, positions, recompute=recompute)
        + _update_bytes(shape, config, means),
        evaluation=_evaluation_bytes(shape, means),
        saving=held if means.on_cpu else 0,
    )


def _pass_bytes(shape: ModelShape, config: Config, means: Means, positions: int, *, recompute: bool) -> int:
    """The peak of both passes, reached as the forward ends or the backward begins."""
    layer = positions * _kept_bytes(shape, config, means)
    casts, frozen = 0, config.training.lora.enabled
    if not means.int8 and not frozen and (means.kernels or means.bytes_per_number < 4):
        casts = means.bytes_per_number * _block_matrices(shape)
    table = shape.vocab_size * shape.d_model
    gradient = 0 if frozen else 4 * table  # of the head
    head = positions * shape.d_model * means.bytes_per_number + gradient
    backward = int(layer * _BACKWARD_LAYERS["kernels" if means.kernels else "torch"])
    cast_head = 0 if frozen else 2 * means.bytes_per_number * table
    turning = max(_loss_bytes(shape, means, positions) + cast_head, backward + gradient)
    kept = shape.n_layers * layer
    if recompute:  # inputs of all layers, with kernels the residual stream and what is to be added to it, and one layer
        inputs = (2 if means.kernels else 1) * positions * shape.d_model * means.bytes_per_number
        kept, casts = min(kept, shape.n_layers * inputs + layer), casts // shape.n_layers
    return kept + casts + head + turning


def _kept_bytes(shape: ModelShape, config: Config, means: Means) -> int:
    """What a layer keeps of one position for the backward pass."""
    kind = "kernels" if means.kernels else "torch float32" if means.bytes_per_number == 4 else "torch 16 bit"
    if not means.kernels and not means.on_cpu:
        kind = "gpu"
    numbers = _KEPT_WIDTHS[kind] * shape.d_model + (3 if means.kernels else 4) * shape.d_ff
    context = shape.context_length
    if means.on_cpu:
        numbers += shape.n_heads * kept_numbers(context) // context
    elif means.processor == "mps":  # torch keeps scores and probabilities there; on CUDA it computes them again
        numbers += 2 * shape.n_heads * context
    masks = 2 * shape.d_model if config.model.dropout else 0
    return numbers * means.bytes_per_number + masks


def _loss_bytes(shape: ModelShape, means: Means, positions: int) -> int:
    """The logits that become loss at once, and their float32 softmax on a GPU."""
    most = positions_at_once(shape.vocab_size, means.bytes_per_number, on_cpu=means.on_cpu)
    return min(positions, most) * shape.vocab_size * (means.bytes_per_number + (0 if means.on_cpu else 8))


def _update_bytes(shape: ModelShape, config: Config, means: Means) -> int:
    """What Muon makes of the largest group of matrices of one shape, which it updates together."""
    if config.training.optimizer == "adamw" or config.training.lora.enabled:
        return 0
    groups = Counter(_matrices(shape))
    # The stacked gradients and the update in float32, one more in the type of the iteration, and the products in it.
    per_number = 10 if means.bytes_per_number == 2 else 16
    return per_number * max((count * prod(size) for size, count in groups.items()), default=0)


def _evaluation_bytes(shape: ModelShape, means: Means) -> int:
    """The larger of a batch in one layer and the float32 logits that become loss at once."""
    positions = max(TOKENS_PER_BATCH, shape.context_length)
    hidden = positions * ((6 * shape.d_model + 4 * shape.d_ff) * means.bytes_per_number + 8 * shape.d_model)
    most = positions_at_once(shape.vocab_size, 4, on_cpu=means.on_cpu)
    logits = min(positions, most) * shape.vocab_size * (means.bytes_per_number + 8)
    return max(hidden, logits + shape.vocab_size * shape.d_model * means.bytes_per_number)


def _matrices(shape: ModelShape) -> list[tuple[int, ...]]:
    """Sizes of the blocks' matrices."""
    return [size for name, size in shape.tensors().items() if len(size) == 2 and name.startswith("layers.")]


def _block_matrices(shape: ModelShape) -> int:
    return sum(map(prod, _matrices(shape)))
