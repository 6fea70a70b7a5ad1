"""What a run would need and how long it would take: counted where it can be counted, measured where that fits."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.data.store.dataset import Batch, PreparedDataset
from nima_cli.engine.device import Device
from nima_cli.engine.machine_memory import available_memory
from nima_cli.engine.training.distributed.launch import process_count
from nima_cli.engine.training.distributed.ranks import SINGLE
from nima_cli.engine.training.planning.costs import checkpoint_bytes
from nima_cli.engine.training.planning.fitting import Fit, Settings, fit, means_of
from nima_cli.engine.training.planning.out_of_memory import is_out_of_memory, release
from nima_cli.engine.training.run_spec import RunSpec, make_run_spec
from nima_cli.engine.training.session import training_device
from nima_cli.engine.training.state import build_model, build_train_step

_CPU_TOKENS = 4096  # of a measured pass: with more, a CPU is no faster
_FEW_TOKENS_PER_PARAMETER = 0.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """The plan and the cost of a run; the fields about data are 0 while there is none.

    Attributes:
        memory_bytes: that a process needs where it computes, with a whole batch at once.
        memory_peak: what it is doing then.
        memory_available_bytes: to each process; None where the machine does not say.
        fits: whether the one is within the other.
        pieces: micro-batches in which each batch fits, 1 where it fits as it is; 0 where none do.
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
    learning_rate: float | None
    dropout: float
    weight_decay: float | None
    embedding_weight_decay: float | None
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
    processes = process_count(config.hardware)
    spec = make_run_spec(config, dataset, processes, vocab_size=vocab_size)
    device = training_device(spec.config, SINGLE, compiled)
    found = fit(
        spec.config,
        spec.shape,
        means_of(device, processes=processes),
        available_memory(device.device, processes=processes),
    )
    rate, why_not = 0.0, "there is no data yet"
    if dataset is not None:
        found, rate, why_not = _measured(found, spec, device, processes)
    shape, plan, training = spec.shape, spec.plan, spec.config.training
    return Estimate(
        parameters=shape.parameters(),
        shape_text=f"{shape.n_layers} layers, {shape.d_model} wide, vocabulary {shape.vocab_size:,}",
        device=device.name,
        dtype=device.precision,
        memory_bytes=found.needed.peak,
        memory_peak=found.needed.peak_phase,
        memory_available_bytes=found.available,
        fits=found.fits,
        pieces=found.micro_batches or 0,
        fitting_settings=found.settings,
        disk_bytes=(training.save_total_limit + 2) * checkpoint_bytes(shape, spec.config),
        train_tokens=dataset.split("train").tokens if dataset is not None else 0,
        tokens_per_step=plan.tokens_per_step if dataset is not None else 0,
        total_steps=plan.total_steps if dataset is not None else 0,
        total_epochs=plan.total_epochs if dataset is not None else 0.0,
        warmup_steps=plan.schedule.warmup_steps if dataset is not None else 0,
        learning_rate=training.learning_rate,
        dropout=spec.config.model.dropout,
        weight_decay=training.weight_decay,
        embedding_weight_decay=training.embedding_weight_decay,
        eval_steps=plan.eval_steps if dataset is not None else 0,
        tokens_per_second=rate,
        seconds=plan.total_steps * plan.tokens_per_step / rate if rate else 0.0,
        not_measured=why_not,
        notes=(*(note.message for note in device.notes), *_verdicts(spec, dataset)),
    )


def _verdicts(spec: RunSpec, dataset: PreparedDataset | None) -> tuple[str, ...]:
    if dataset is None:
        return ()
    tokens, parameters = dataset.split("train").tokens * spec.plan.total_epochs, spec.shape.parameters()
    if tokens < _FEW_TOKENS_PER_PARAMETER * parameters:
        return (*spec.plan.notes, f"{tokens:,.0f} tokens for {parameters:,} parameters: too few to learn much from")
    return spec.plan.notes


def _measured(found: Fit, spec: RunSpec, device: Device, processes: int) -> tuple[Fit, float, str]:
    """Tokens a second, from one pass and an update, or why they are not known.

    Where memory runs out in spite of the estimate, the verdict is another one.
    """
    micro_batches = found.micro_batches if spec.config.training.auto_batch or found.fits else None
    if micro_batches is None:
        return found, 0.0, "it does not fit into memory"
    sequences = -(-found.sequences // micro_batches)
    if device.device.type == "cpu":
        sequences = min(sequences, max(1, _CPU_TOKENS // spec.shape.context_length))
    try:
        one, update = _seconds(spec, device, sequences)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        passes = spec.plan.sequences_per_step / (sequences * processes)
        return found, spec.plan.tokens_per_step / (passes * one + update), ""
    release(device.device)
    needed = found.needed.peak if found.fits else found.smallest
    means = means_of(device, processes=processes)
    return fit(spec.config, spec.shape, means, needed - 1), 0.0, "memory ran out while it was"


def _seconds(spec: RunSpec, device: Device, sequences: int) -> tuple[float, float]:
    """Seconds of a forward and a backward pass on random tokens, and of an update; once warm."""
    model = build_model(spec, device)
    model.init_weights(0)
    step = build_train_step(model.to(device.device), spec, device)
    step.auto_batch = False  # what is measured are so many sequences at once
    size = (sequences, spec.shape.context_length)
    ids_BT = torch.randint(0, spec.shape.vocab_size, size, generator=torch.Generator().manual_seed(0))

    def seconds(work: Callable[[], object]) -> float:
        device.synchronize()
        start = time.perf_counter()
        work()
        device.synchronize()
        return time.perf_counter() - start

    def whole() -> None:
        step([Batch(ids_BT, ids_BT)], sequences=[range(sequences)], learning_rate=1e-4)

    whole()
    both = seconds(whole)
    for parameter in step.optimizer.parameters:
        parameter.grad = torch.zeros_like(parameter)
    update = seconds(lambda: step.optimizer.step(1e-4, torch.zeros((), device=device.device)))
    return max(both - update, both / 10), update
