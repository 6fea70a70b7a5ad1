"""Everything that a run changes as it goes, how it becomes a checkpoint and how it comes back; knows no loop."""

import dataclasses
from typing import Any

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.checkpoint import Checkpoint
from nima_cli.engine.data.dataset import PreparedDataset
from nima_cli.engine.device import Device
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import resolve
from nima_cli.engine.training.meter import FP16_PATIENCE, PATIENCE, Meter
from nima_cli.engine.training.optim import Optimizer
from nima_cli.engine.training.plan import RunPlan, make_plan
from nima_cli.engine.training.ranks import Ranks
from nima_cli.engine.training.step import TrainStep
from nima_cli.engine.training.stopping import Best, EarlyStopping


class RunState:
    """Model, optimizer, counters and judgements of one run, at a step boundary.

    Args:
        resume: a checkpoint of this run to go on from.
        init_from: a checkpoint whose weights a new run starts with.
    """

    def __init__(
        self,
        config: Config,
        dataset: PreparedDataset,
        device: Device,
        ranks: Ranks,
        *,
        resume: Checkpoint | None,
        init_from: Checkpoint | None,
    ) -> None:
        self.config, self.dataset, self.device, self.ranks = config, dataset, device, ranks
        self.shape = resolve(config.model, dataset.tokenizer.vocab_size)
        self.plan = plan_run(config, dataset, world_size=ranks.world_size)
        self.model = self._build_model(resume or init_from)
        training = config.training
        self.optimizer = Optimizer(self.model, kind=training.optimizer, weight_decay=training.weight_decay)
        self.train_step = TrainStep(
            self.model, self.optimizer, device, ranks, seed=training.seed, max_grad_norm=training.max_grad_norm
        )
        header = resume.header if resume is not None else {}
        self.step = int(header.get("step", 0))
        self.evaluated_step = int(header.get("evaluated_step", 0))
        self.extends = resume is not None and header.get("total_steps") != self.plan.total_steps
        best = Best.from_dict(header["best"]) if "best" in header else None
        self.stopping = EarlyStopping(training.early_stopping, best)
        self.meter = self._restore_meter(header)
        if resume is not None and resume.optimizer is not None:
            self.optimizer.load_state(resume.optimizer)
        if self.train_step.loss_scale is not None and header.get("loss_scale"):
            self.train_step.loss_scale.value = float(header["loss_scale"]["value"])
            self.train_step.loss_scale.calm_steps = int(header["loss_scale"]["calm_steps"])

    def _build_model(self, source: Checkpoint | None) -> GPT:
        model = GPT(self.shape, dropout=self.config.model.dropout, compute_dtype=self.device.dtype)
        if source is None:
            model.init_weights(self.config.training.seed)
        else:
            model.load_state_dict(source.model, strict=True)
        return model.to(self.device.device)

    def _restore_meter(self, header: dict[str, Any]) -> Meter:
        meter = Meter(
            self.device,
            self.ranks,
            train_seconds=float(header.get("train_seconds", 0.0)),
            elapsed_seconds=float(header.get("elapsed_seconds", 0.0)),
            patience=PATIENCE if self.train_step.loss_scale is None else FP16_PATIENCE,
        )
        if "open_window" in header and self.ranks.is_first:
            meter.reopen_window(header["open_window"])
        return meter

    def weights_are_finite(self) -> bool:
        """Whether they may be written: no checkpoint on disk ever holds anything else."""
        norms = torch._foreach_norm(list(self.model.parameters()))
        return bool(torch.isfinite(torch.stack(norms)).all())

    def checkpoint(self) -> Checkpoint:
        """The whole state; every process must call it, for it adds up over them."""
        window = self.meter.window()
        scale = self.train_step.loss_scale
        header = {
            "config": self.config.model_dump(mode="json"),
            "step": self.step,
            "epoch": self.plan.epoch(self.step),
            "total_steps": self.plan.total_steps,
            "tokens": self.step * self.plan.tokens_per_step,
            "evaluated_step": self.evaluated_step,
            "best": self.stopping.best.to_dict(),
            "out_of_patience": self.stopping.out_of_patience,
            "open_window": window,
            "loss_scale": dataclasses.asdict(scale) if scale is not None else None,
            "train_seconds": self.meter.train_seconds,
            "elapsed_seconds": self.meter.elapsed_seconds,
            "dtype": self.device.dtype_name,
            "threads": torch.get_num_threads(),
            "dataset_sha256": self.dataset.sha256,
            "tokenizer_sha256": self.dataset.tokenizer.sha256,
            "conversations": self.dataset.conversations,
        }
        return Checkpoint(
            shape=self.shape,
            model=dict(self.model.state_dict()),
            tokenizer_proto=self.dataset.tokenizer.proto,
            header=header,
            optimizer=self.optimizer.state(),
        )


def plan_run(config: Config, dataset: PreparedDataset, *, world_size: int = 1) -> RunPlan:
    """The plan for this config on this dataset, without building anything.

    Raises:
        ConfigError: the batch cannot be shared out, or sizes are missing.
    """
    context = resolve(config.model, dataset.tokenizer.vocab_size).context_length
    return make_plan(
        config.training,
        context_length=context,
        rows_per_epoch=dataset.split("train").rows_per_epoch(context),
        world_size=world_size,
    )
