"""What a run would need and how long it would take: counted where it can be counted, measured where that fits.

Nothing is built before what it needs was compared with what there is.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.data.store.dataset import Batch, PreparedDataset
from nima_cli.engine.device import Device, pick_device
from nima_cli.engine.kernels.convert import convert
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.trust import precision, trusted_kernels
from nima_cli.engine.machine_memory import available_memory
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape, resolve
from nima_cli.engine.training.distributed.launch import process_count
from nima_cli.engine.training.distributed.ranks import SINGLE
from nima_cli.engine.training.loss import linear_cross_entropy
from nima_cli.engine.training.optim import Optimizer
from nima_cli.engine.training.planning.costs import checkpoint_bytes
from nima_cli.engine.training.planning.defaults import fill_in
from nima_cli.engine.training.planning.fitting import Fit, Settings, fit, means_of
from nima_cli.engine.training.planning.memory import is_out_of_memory, release
from nima_cli.engine.training.planning.plan import RunPlan
from nima_cli.engine.training.session import gpu_index
from nima_cli.engine.training.state import plan_run
from nima_cli.engine.training.step import TrainStep

_CPU_TOKENS = 4096  # of a measured pass: with more, a CPU is no faster
_FEW_TOKENS_PER_PARAMETER = 0.5
_NO_ROOM, _NO_DATA = "it does not fit into memory", "there is no data yet"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The plan and the cost of a run; the fields about data are 0 while there is none.

    Attributes:
        memory_bytes: that a process needs where it computes, with a whole micro-batch at once.
        memory_peak: what it is doing then.
        memory_available_bytes: to each process; None where the machine does not say.
        fits: whether the one is within the other.
        pieces: in which each micro-batch fits, 1 where it fits as it is; 0 where none do.
        fitting_settings: keys and values that fit; empty where it fits, or none do.
        tokens_per_second: 0, as are the seconds, where it was not measured.
        not_measured: why it was not; empty where it was.
    """

    parameters: int
    shape_text: str
    device: str
    dtype: str
    memory_bytes: int
    memory_peak: str
    memory_available_bytes: int | None
    fits: bool
    pieces: int
    fitting_settings: Settings
    disk_bytes: int
    train_tokens: int
    tokens_per_step: int
    total_steps: int
    total_epochs: float
    warmup_steps: int
    learning_rate: float
    dropout: float
    weight_decay: float
    embedding_weight_decay: float
    eval_steps: int
    tokens_per_second: float
    seconds: float
    not_measured: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON."""
        return asdict(self)


def estimate(
    config: Config, dataset: PreparedDataset | None, *, vocab_size: int, compiled: Path | None = None
) -> Estimate:
    """Count what can be counted and, if it fits, time a few real passes on the real device.

    Args:
        dataset: None while it is not prepared.
        vocab_size: assumed without a dataset.
        compiled: where compiled programs are kept; None measures without.

    Raises:
        NimaError: the configuration or the device cannot be used.
    """
    shape = resolve(config.model, dataset.tokenizer.vocab_size if dataset is not None else vocab_size)
    config = fill_in(config, shape, train_tokens=dataset.split("train").tokens if dataset is not None else 0)
    processes = process_count(config.hardware)
    device = pick_device(config.hardware.device, config.training.use_mixed_precision, gpu_index(config, SINGLE))
    kernels, kernel_notes = trusted_kernels(device, config, compiled, linear_cross_entropy)
    plan = plan_run(config, dataset, world_size=processes) if dataset is not None else None
    available = available_memory(device.device, processes=processes)
    found = fit(config, shape, means_of(device, kernels, processes=processes), available)
    rate, why_not = 0.0, _NO_DATA
    if plan is not None:
        found, rate, why_not = _measured(found, shape, config, device, kernels, plan, processes)
    return Estimate(
        parameters=shape.parameters(),
        shape_text=f"{shape.n_layers} layers, {shape.d_model} wide, vocabulary {shape.vocab_size:,}",
        device=device.name,
        dtype=precision(device.dtype_name, kernels),
        disk_bytes=(config.training.save_total_limit + 2) * checkpoint_bytes(shape, config),
        tokens_per_second=rate,
        not_measured=why_not,
        **_memory_facts(found),
        **_recipe_facts(config),
        **_plan_facts(plan, dataset, rate),
        notes=(
            *(note.message for note in (*device.notes, *kernel_notes)),
            *_verdicts(plan, dataset, shape.parameters()),
        ),
    )


def _memory_facts(found: Fit) -> dict[str, Any]:
    return {
        "memory_bytes": found.needed.peak,
        "memory_peak": found.needed.peak_phase,
        "memory_available_bytes": found.available,
        "fits": found.fits,
        "pieces": found.pieces or 0,
        "fitting_settings": found.settings,
    }


def _recipe_facts(config: Config) -> dict[str, Any]:
    training = config.training
    return {
        "learning_rate": training.learning_rate,
        "dropout": config.model.dropout,
        "weight_decay": training.weight_decay,
        "embedding_weight_decay": training.embedding_weight_decay,
    }


def _plan_facts(plan: RunPlan | None, dataset: PreparedDataset | None, rate: float) -> dict[str, Any]:
    if plan is None or dataset is None:
        names = ("train_tokens", "tokens_per_step", "total_steps", "warmup_steps", "eval_steps")
        return {**dict.fromkeys(names, 0), "total_epochs": 0.0, "seconds": 0.0}
    return {
        "train_tokens": dataset.split("train").tokens,
        "tokens_per_step": plan.tokens_per_step,
        "total_steps": plan.total_steps,
        "total_epochs": plan.total_epochs,
        "warmup_steps": plan.schedule.warmup_steps,
        "eval_steps": plan.eval_steps,
        "seconds": plan.total_steps * plan.tokens_per_step / rate if rate else 0.0,
    }


def _verdicts(plan: RunPlan | None, dataset: PreparedDataset | None, parameters: int) -> tuple[str, ...]:
    if plan is None or dataset is None:
        return ()
    tokens = dataset.split("train").tokens * plan.total_epochs
    if tokens < _FEW_TOKENS_PER_PARAMETER * parameters:
        return (*plan.notes, f"{tokens:,.0f} tokens for {parameters:,} parameters: too few to learn much from")
    return plan.notes


def _measured(
    found: Fit,
    shape: ModelShape,
    config: Config,
    device: Device,
    kernels: Kernels | None,
    plan: RunPlan,
    processes: int,
) -> tuple[Fit, float, str]:
    """Tokens a second, from one pass and an update, or why they are not known.

    Where memory runs out in spite of the estimate, the verdict is another one.
    """
    pieces = found.pieces if config.training.auto_batch or found.fits else None
    if pieces is None:
        return found, 0.0, _NO_ROOM
    rows = -(-found.rows // pieces)
    if device.device.type == "cpu":
        rows = min(rows, max(1, _CPU_TOKENS // shape.context_length))
    try:
        one, update = _seconds(shape, config, device, kernels, rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        passes = plan.rows_per_step / (rows * processes)
        return found, plan.tokens_per_step / (passes * one + update), ""
    release(device.device)
    needed = found.needed.peak if found.fits else found.smallest
    means = means_of(device, kernels, processes=processes)
    return fit(config, shape, means, needed - 1), 0.0, "memory ran out while it was"


def _seconds(
    shape: ModelShape, config: Config, device: Device, kernels: Kernels | None, rows: int
) -> tuple[float, float]:
    """Seconds of a forward and a backward pass on so many rows of random tokens, and of an update; once warm."""
    step = _make_step(shape, config, device, kernels)
    ids_BT = torch.randint(
        0, shape.vocab_size, (rows, shape.context_length), generator=torch.Generator().manual_seed(0)
    )
    batch = Batch(ids_BT, ids_BT)

    def seconds(work: Callable[[], object]) -> float:
        device.synchronize()
        start = time.perf_counter()
        work()
        device.synchronize()
        return time.perf_counter() - start

    def whole() -> None:
        step([batch], rows=[range(rows)], learning_rate=1e-4)

    whole()
    both = seconds(whole)
    for parameter in step.optimizer.parameters:
        parameter.grad = torch.zeros_like(parameter)
    update = seconds(lambda: step.optimizer.step(1e-4, torch.zeros((), device=device.device)))
    return max(both - update, both / 10), update


def _make_step(shape: ModelShape, config: Config, device: Device, kernels: Kernels | None) -> TrainStep:
    training = config.training
    assert training.weight_decay is not None
    assert training.embedding_weight_decay is not None
    model = GPT(shape, dropout=config.model.dropout, compute_dtype=device.dtype)
    model.init_weights(0)
    convert(model.to(device.device), kernels)
    optimizer = Optimizer(
        model,
        kind=training.optimizer,
        weight_decay=training.weight_decay,
        embedding_weight_decay=training.embedding_weight_decay,
        kernels=kernels,
    )
    return TrainStep(model, optimizer, device, SINGLE, seed=0, max_grad_norm=training.max_grad_norm, kernels=kernels)
