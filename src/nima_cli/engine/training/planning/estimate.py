"""What a run would need, by count, and how long it would take, by measurement."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.data.store.dataset import Batch, PreparedDataset
from nima_cli.engine.device import Device
from nima_cli.engine.kernels.convert import convert
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.trust import precision
from nima_cli.engine.machine_memory import available_memory
from nima_cli.engine.training.distributed.launch import process_count
from nima_cli.engine.training.distributed.ranks import SINGLE
from nima_cli.engine.training.planning.costs import checkpoint_bytes
from nima_cli.engine.training.planning.fitting import Fit, fit, means_of
from nima_cli.engine.training.planning.out_of_memory import is_out_of_memory, release
from nima_cli.engine.training.run_spec import RunSpec, make_run_spec
from nima_cli.engine.training.session import training_device
from nima_cli.engine.training.state import build_model
from nima_cli.engine.training.step import TrainStep

_CPU_TOKENS = 4096  # of a measured pass: with more, a CPU is no faster
_FEW_TOKENS_PER_PARAMETER = 0.5
_RAN_OUT = "memory ran out while it was"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The plan and the cost of a run.

    Attributes:
        train_tokens: None while there is no data; the plan then means nothing.
        tokens_per_second: 0 where it was not measured.
        not_measured: why not; empty where it was.
    """

    spec: RunSpec
    train_tokens: int | None
    device: str
    dtype: str
    fit: Fit
    tokens_per_second: float
    not_measured: str
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Duration of the run; 0 where it was not measured."""
        plan, rate = self.spec.plan, self.tokens_per_second
        return plan.total_steps * plan.tokens_per_step / rate if rate else 0.0

    @property
    def disk_bytes(self) -> int:
        """Size of the checkpoints that are kept, the best, and one being written."""
        config = self.spec.config
        return (config.training.save_total_limit + 2) * checkpoint_bytes(self.spec.shape, config)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON; the values about data are 0 while there is none."""
        shape, plan, training = self.spec.shape, self.spec.plan, self.spec.config.training
        known = int(self.train_tokens is not None)
        return {
            "parameters": shape.parameters(),
            "shape_text": self.shape_text,
            "device": self.device,
            "dtype": self.dtype,
            "memory_bytes": self.fit.needed.peak,
            "memory_peak": self.fit.needed.peak_phase,
            "memory_available_bytes": self.fit.available,
            "fits": self.fit.fits,
            "pieces": self.fit.micro_batches or 0,
            "recompute": self.fit.recompute,
            "fitting_settings": self.fit.settings,
            "disk_bytes": self.disk_bytes,
            "train_tokens": self.train_tokens or 0,
            "tokens_per_step": known * plan.tokens_per_step,
            "total_steps": known * plan.total_steps,
            "total_epochs": known * plan.total_epochs,
            "warmup_steps": known * plan.schedule.warmup_steps,
            "learning_rate": training.learning_rate,
            "dropout": self.spec.config.model.dropout,
            "weight_decay": training.weight_decay,
            "embedding_weight_decay": training.embedding_weight_decay,
            "eval_steps": known * plan.eval_steps,
            "tokens_per_second": self.tokens_per_second,
            "seconds": self.seconds,
            "not_measured": self.not_measured,
            "notes": self.notes,
        }

    @property
    def shape_text(self) -> str:
        """The shape in a few words."""
        shape = self.spec.shape
        return f"{shape.n_layers} layers, {shape.d_model} wide, vocabulary {shape.vocab_size:,}"


def estimate(
    config: Config, dataset: PreparedDataset | None, *, vocab_size: int, compiled: Path | None = None
) -> Estimate:
    """Count what can be counted and, if it fits, time a few passes on the device.

    Args:
        dataset: None while it is not prepared; `vocab_size` then stands for it.
        compiled: the folder of compiled programs; None measures without.

    Raises:
        NimaError: the configuration or the device cannot be used.
    """
    processes = process_count(config.hardware)
    spec = make_run_spec(config, dataset, processes, vocab_size=vocab_size)
    device, (kernels, kernel_notes) = training_device(spec.config, SINGLE, compiled)
    means = means_of(device, kernels, processes=processes)
    found = fit(spec.config, spec.sequence_shape, means, available_memory(device.device, processes=processes))
    tokens, rate, why_not = None, 0.0, "there is no data yet"
    notes = [note.message for note in (*device.notes, *kernel_notes)]
    if dataset is not None:
        tokens = dataset.split("train").tokens
        rate, why_not = _measure(found, spec, device, kernels, processes)
        if why_not == _RAN_OUT:  # in spite of what was counted
            found = fit(
                spec.config, spec.sequence_shape, means, (found.needed.peak if found.fits else found.smallest) - 1
            )
        notes += spec.plan.notes
        read, parameters = tokens * spec.plan.total_epochs, spec.shape.parameters()
        if config.model.pretrained is None and read < _FEW_TOKENS_PER_PARAMETER * parameters:
            notes.append(f"{read:,.0f} tokens for {parameters:,} parameters: too few to learn much from")
    return Estimate(
        spec, tokens, device.name, precision(device.dtype_name, kernels), found, rate, why_not, tuple(notes)
    )


def _measure(found: Fit, spec: RunSpec, device: Device, kernels: Kernels | None, processes: int) -> tuple[float, str]:
    """Tokens a second, from one pass and an update, or 0 and why not."""
    micro_batches = found.micro_batches if spec.config.training.auto_batch or found.fits else None
    if micro_batches is None:
        return 0.0, "it does not fit into memory"
    sequences = -(-found.sequences // micro_batches)
    if device.device.type == "cpu":
        sequences = min(sequences, max(1, _CPU_TOKENS // spec.plan.context_length))
    try:
        one, update = _seconds(spec, device, kernels, sequences, recompute=found.recompute)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        passes = spec.plan.sequences_per_step / (sequences * processes)
        return spec.plan.tokens_per_step / (passes * one + update), ""
    release(device.device)
    return 0.0, _RAN_OUT


def _seconds(
    spec: RunSpec, device: Device, kernels: Kernels | None, sequences: int, *, recompute: bool
) -> tuple[float, float]:
    """Seconds, once warm, of both passes on random tokens and of an update."""
    model = build_model(spec, device)
    model.init_weights(0)
    convert(model.to(device.device), kernels)
    step = TrainStep(model, spec.config.training, device, kernels=kernels, recompute=recompute)
    step.auto_batch = False  # what is measured are so many sequences at once
    size = (sequences, spec.plan.context_length)
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
