"""What a run needs in memory and on disk, by arithmetic.

benchmarks/memory.py compares it with real runs, docs/performance.md says how near it is.
"""

from dataclasses import dataclass
from math import prod

from nima_cli.config.schema import Config
from nima_cli.engine.kernels.blocked_attention import kept_numbers
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.training.evaluator import TOKENS_PER_BATCH
from nima_cli.engine.training.loss import CPU_CHUNK, GPU_CHUNK

_HOST_BASE = 350_000_000  # Python, torch, its threads, and what the dataset's maps have in memory
_GPU_BASE = 300_000_000  # workspaces of the libraries, and what the allocator cannot use
# Vectors of the model's width that one layer keeps of a position for the backward pass, counted with torch's hooks for
# saved tensors: in 16 bit torch's norms keep float32 on a CPU. Beside them are those of the MLP's width.
_KEPT_WIDTHS = {"kernels": 11, "torch float32": 14, "torch 16 bit": 22, "gpu": 16}
# What a layer's backward pass makes, in what the layer keeps: measured.
_BACKWARD_LAYERS = {"kernels": 1.0, "torch": 2.5}


@dataclass(frozen=True, slots=True)
class Means:
    """What a run computes with, as far as it changes what it needs.

    Attributes:
        processor: `cpu`, `cuda` or `mps`.
        bytes_per_number: of activations.
        kernels: whether compiled kernels train.
        int8: whether these multiply 8-bit integers.
        processes: that share each batch.
    """

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
    """Bytes that one process of a run needs where it computes: what it always holds, and the most of each phase.

    Attributes:
        base: before there is a model.
        state: weights, their average, the optimizer.
        step: gradients, activations, and what the optimizer makes of the gradients.
        evaluation: a batch without gradients.
        saving: the copy that is written as a checkpoint; 0 on a GPU, where it is the host's.
    """

    base: int
    state: int
    step: int
    evaluation: int
    saving: int

    @property
    def peak(self) -> int:
        """The most at any time."""
        return self.base + self.state + max(self.step, self.evaluation, self.saving)

    @property
    def peak_phase(self) -> str:
        """When that is: `a step`, `an evaluation` or `writing a checkpoint`."""
        phases = {"a step": self.step, "an evaluation": self.evaluation, "writing a checkpoint": self.saving}
        return max(phases, key=lambda name: phases[name])


def optimizer_bytes(shape: ModelShape, config: Config) -> int:
    """AdamW keeps two float32 numbers per parameter, Muon one for each of its matrices."""
    return 8 * shape.parameters() - (4 * _block_matrices(shape) if config.training.optimizer == "muon" else 0)


def checkpoint_bytes(shape: ModelShape, config: Config) -> int:
    """Size of one resumable checkpoint: float32 weights, their average where the run keeps it, and the optimizer."""
    copies = 2 if config.training.ema_decay is not None else 1
    return copies * 4 * shape.parameters() + optimizer_bytes(shape, config)


def memory(shape: ModelShape, config: Config, means: Means, *, sequences: int) -> Memory:
    """What one process needs that computes so many sequences at once."""
    held = checkpoint_bytes(shape, config)
    positions = sequences * shape.context_length
    return Memory(
        base=_HOST_BASE if means.on_cpu else _GPU_BASE,
        state=held + (2 * _block_matrices(shape) if means.int8 else 0),  # int8 weights in the forms of both passes
        # A pass and an update follow each other, but what the one has freed is in pieces too small for the other.
        step=4 * shape.parameters()
        + _pass_bytes(shape, config, means, positions)
        + _update_bytes(shape, config, means),
        evaluation=_evaluation_bytes(shape, means),
        saving=held if means.on_cpu else 0,
    )


def _pass_bytes(shape: ModelShape, config: Config, means: Means, positions: int) -> int:
    """The most of a forward and a backward pass, which is when the one ends or the other begins."""
    layer = positions * _kept_bytes(shape, config, means)
    casts = 0
    if not means.int8 and (means.kernels or means.bytes_per_number < 4):
        casts = means.bytes_per_number * _block_matrices(shape)
    table = shape.vocab_size * shape.d_model
    head = positions * shape.d_model * means.bytes_per_number + 4 * table
    backward = int(layer * _BACKWARD_LAYERS["kernels" if means.kernels else "torch"])
    turning = max(_loss_bytes(shape, means, positions) + 2 * means.bytes_per_number * table, backward + 4 * table)
    return shape.n_layers * layer + casts + head + turning


def _kept_bytes(shape: ModelShape, config: Config, means: Means) -> int:
    """What a layer keeps of one position for the backward pass."""
    if means.kernels:
        kind, hidden = "kernels", 3
    else:
        precise = means.bytes_per_number == 4
        kind, hidden = ("gpu" if not means.on_cpu else "torch float32" if precise else "torch 16 bit"), 4
    numbers = _KEPT_WIDTHS[kind] * shape.d_model + hidden * shape.d_ff
    context = shape.context_length
    if means.on_cpu:
        numbers += shape.n_heads * kept_numbers(context) // context
    elif means.processor == "mps":  # torch keeps scores and probabilities there; on CUDA it computes them again
        numbers += 2 * shape.n_heads * context
    masks = 2 * shape.d_model if config.model.dropout else 0
    return numbers * means.bytes_per_number + masks


def _loss_bytes(shape: ModelShape, means: Means, positions: int) -> int:
    """The logits of the positions that are turned into loss at once, and their float32 softmax on a GPU."""
    if means.on_cpu:
        return min(positions, CPU_CHUNK) * shape.vocab_size * means.bytes_per_number
    return min(positions, GPU_CHUNK) * shape.vocab_size * (means.bytes_per_number + 8)


def _update_bytes(shape: ModelShape, config: Config, means: Means) -> int:
    """What Muon makes of the largest group of matrices of one shape, which it updates together."""
    if config.training.optimizer == "adamw":
        return 0
    groups: dict[tuple[int, ...], int] = {}
    for size in _matrices(shape):
        groups[size] = groups.get(size, 0) + prod(size)
    # The stacked gradients and the update in float32, one more in the type of the iteration, and the products in it.
    per_number = 10 if means.bytes_per_number == 2 else 16
    return per_number * max(groups.values(), default=0)


def _evaluation_bytes(shape: ModelShape, means: Means) -> int:
    """A batch of an evaluation in one layer, and the logits that become loss at once in float32."""
    positions = max(TOKENS_PER_BATCH, shape.context_length)
    hidden = positions * ((6 * shape.d_model + 4 * shape.d_ff) * means.bytes_per_number + 8 * shape.d_model)
    logits = min(positions, CPU_CHUNK if means.on_cpu else GPU_CHUNK) * shape.vocab_size * (means.bytes_per_number + 8)
    return max(hidden, logits + shape.vocab_size * shape.d_model * means.bytes_per_number)


def _matrices(shape: ModelShape) -> list[tuple[int, ...]]:
    """Sizes of the matrices in the blocks."""
    return [size for name, size in shape.tensors().items() if len(size) == 2 and name.startswith("layers.")]


def _block_matrices(shape: ModelShape) -> int:
    return sum(map(prod, _matrices(shape)))
