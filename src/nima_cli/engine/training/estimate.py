"""What a run would need and how long it would take: counted where it can be counted, measured where it cannot."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.data.dataset import Batch, PreparedDataset
from nima_cli.engine.device import Device, pick_device
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape, resolve
from nima_cli.engine.training.costs import checkpoint_bytes, memory_bytes
from nima_cli.engine.training.kernel_check import with_trusted_kernels
from nima_cli.engine.training.optim import Optimizer
from nima_cli.engine.training.ranks import SINGLE
from nima_cli.engine.training.recipe import fill_in
from nima_cli.engine.training.state import plan_run
from nima_cli.engine.training.step import TrainStep

_MEASURED_STEPS = 2
_FEW_TOKENS_PER_PARAMETER = 0.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """The plan and the cost of a run; the fields about data are 0 while there is none."""

    parameters: int
    shape_text: str
    device: str
    dtype: str
    memory_bytes: int
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
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON."""
        return asdict(self)


def estimate(
    config: Config, dataset: PreparedDataset | None, *, vocab_size: int, compiled: Path | None = None
) -> Estimate:
    """Count what can be counted and time a few real steps on the real device.

    Args:
        dataset: None while it is not prepared.
        vocab_size: assumed without a dataset.
        compiled: where compiled programs are kept; None measures without.

    Raises:
        NimaError: the configuration or the device cannot be used.
    """
    shape = resolve(config.model, dataset.tokenizer.vocab_size if dataset is not None else vocab_size)
    config = fill_in(config, shape, train_tokens=dataset.split("train").tokens if dataset is not None else 0)
    device = pick_device(config.hardware.device, config.training.use_mixed_precision)
    device = with_trusted_kernels(device, config, compiled)
    facts: dict[str, Any] = {
        "parameters": shape.parameters(),
        "shape_text": f"{shape.n_layers} layers, {shape.d_model} wide, vocabulary {shape.vocab_size:,}",
        "device": device.name,
        "dtype": device.precision,
        "memory_bytes": memory_bytes(
            shape,
            config,
            bytes_per_number=torch.finfo(device.dtype).bits // 8,
            on_cpu=device.device.type == "cpu",
        ),
        "disk_bytes": (config.training.save_total_limit + 2) * checkpoint_bytes(shape, config),
        "train_tokens": 0, "tokens_per_step": 0, "total_steps": 0, "total_epochs": 0.0, "warmup_steps": 0,
        "learning_rate": config.training.learning_rate, "dropout": config.model.dropout,
        "weight_decay": config.training.weight_decay,
        "embedding_weight_decay": config.training.embedding_weight_decay, "eval_steps": 0, "tokens_per_second": 0.0,
        "seconds": 0.0, "notes": (),
    }  # fmt: skip
    if dataset is None:
        return Estimate(**facts)
    plan = plan_run(config, dataset)
    rate = _measure(shape, config, device)
    tokens = dataset.split("train").tokens
    return Estimate(
        **{
            **facts,
            "train_tokens": tokens,
            "tokens_per_step": plan.tokens_per_step,
            "total_steps": plan.total_steps,
            "total_epochs": plan.total_epochs,
            "warmup_steps": plan.schedule.warmup_steps,
            "eval_steps": plan.eval_steps,
            "tokens_per_second": rate,
            "seconds": plan.total_steps * plan.tokens_per_step / rate,
            "notes": plan.notes + _verdicts(tokens, shape.parameters(), plan.total_epochs),
        }
    )


def _verdicts(tokens: int, parameters: int, epochs: float) -> tuple[str, ...]:
    if tokens * epochs < _FEW_TOKENS_PER_PARAMETER * parameters:
        return (f"{tokens * epochs:,.0f} tokens for {parameters:,} parameters: too few to learn much from",)
    return ()


def _measure(shape: ModelShape, config: Config, device: Device) -> float:
    """Tokens per second of real optimizer steps on random tokens, after one to warm up."""
    training = config.training
    assert training.batch_size is not None
    assert training.weight_decay is not None
    assert training.embedding_weight_decay is not None
    model = GPT(shape, dropout=config.model.dropout, compute_dtype=device.dtype, kernels=device.kernels)
    model.init_weights(0)
    model.to(device.device)
    optimizer = Optimizer(
        model,
        kind=training.optimizer,
        weight_decay=training.weight_decay,
        embedding_weight_decay=training.embedding_weight_decay,
    )
    step = TrainStep(model, optimizer, device, SINGLE, seed=0, max_grad_norm=training.max_grad_norm)
    size = (training.batch_size, shape.context_length)
    ids_BT = torch.randint(0, shape.vocab_size, size, generator=torch.Generator().manual_seed(0))
    batches = [Batch(ids_BT, ids_BT)] * training.gradient_accumulation_steps
    rows = [range(len(ids_BT))] * len(batches)
    step(batches, rows=rows, learning_rate=1e-4)
    device.synchronize()
    start = time.perf_counter()
    for _ in range(_MEASURED_STEPS):
        step(batches, rows=rows, learning_rate=1e-4)
    device.synchronize()
    return _MEASURED_STEPS * len(batches) * ids_BT.numel() / (time.perf_counter() - start)
