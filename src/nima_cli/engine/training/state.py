"""Everything that a run changes as it goes, how it becomes a checkpoint and how it comes back; knows no loop."""

import dataclasses
from typing import Literal

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.data.store.dataset import PreparedDataset
from nima_cli.engine.device import Device
from nima_cli.engine.kernels.convert import convert, worth_compiling
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import resolve
from nima_cli.engine.training.distributed.ranks import Ranks
from nima_cli.engine.training.ema import Ema
from nima_cli.engine.training.meter import PATIENCE, Meter
from nima_cli.engine.training.optim import Optimizer
from nima_cli.engine.training.planning.defaults import complete
from nima_cli.engine.training.planning.memory import explained, no_room_to_train
from nima_cli.engine.training.planning.plan import RunPlan, make_plan
from nima_cli.engine.training.step import TrainStep
from nima_cli.engine.training.stopping import Best, EarlyStopping


class RunState:
    """Model, optimizer, counters and judgements of one run, at a step boundary.

    Args:
        resume: a checkpoint of this run to go on from.
        init_from: a checkpoint whose weights a new run starts with.
        rollbacks: how often the run has gone back by now; None takes what the checkpoint says.
        parts: pieces to compute each micro-batch in, at least.
        kernels: compiled for training on this processor; None is torch alone.

    Attributes:
        compiled: what compiled the programs that train: nima its `kernels` or `int8 kernels`, `torch` the layers, or
            None.
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
        rollbacks: int | None = None,
        parts: int = 1,
        kernels: Kernels | None = None,
    ) -> None:
        self.kernels = kernels
        self.config = config = complete(config, dataset)
        self.dataset, self.device, self.ranks = dataset, device, ranks
        self._train_split = dataset.split("train")
        self.shape = resolve(config.model, dataset.tokenizer.vocab_size)
        self.plan = plan_run(config, dataset, world_size=ranks.world_size)
        self.model, self.compiled = convert(self._build_model(_weights(resume, init_from)), self._conversion())
        training = config.training
        assert training.weight_decay is not None
        assert training.embedding_weight_decay is not None
        self.optimizer = Optimizer(
            self.model,
            kind=training.optimizer,
            weight_decay=training.weight_decay,
            embedding_weight_decay=training.embedding_weight_decay,
            kernels=kernels,
            ranks=ranks,
        )
        self.train_step = TrainStep(
            self.model,
            self.optimizer,
            device,
            ranks,
            seed=training.seed,
            max_grad_norm=training.max_grad_norm,
            auto_batch=training.auto_batch,
            parts=parts,
            kernels=kernels,
        )
        self.ema = Ema(self.model, training.ema_decay) if training.ema_decay is not None else None
        header = resume.header if resume is not None else {}
        self.step = int(header.get("step", 0))
        self.evaluated_step = int(header.get("evaluated_step", 0))
        self.inference_weights = str(header.get("inference_weights", "model"))
        self.rollbacks = int(header.get("rollbacks", 0)) if rollbacks is None else rollbacks
        self.extends = resume is not None and header.get("total_steps") != self.plan.total_steps
        best = Best.from_dict(header["best"]) if "best" in header else None
        self.stopping = EarlyStopping(training.early_stopping, best)
        self.meter = Meter(
            device,
            train_seconds=float(header.get("train_seconds", 0.0)),
            elapsed_seconds=float(header.get("elapsed_seconds", 0.0)),
        )
        if resume is not None:
            self._restore(resume)
        if rollbacks is not None:
            self.meter.forget_row()

    def _restore(self, resume: Checkpoint) -> None:
        header = resume.header
        self.meter.load_state(header)
        self.train_step.parts = max(self.train_step.parts, int(header.get("parts", 1)))
        if resume.optimizer is not None:
            self.optimizer.load_state(resume.optimizer)
        if self.ema is not None and resume.ema is not None:
            self.ema.load_state(resume.ema)
        if self.train_step.loss_scale is not None and header.get("loss_scale"):
            self.train_step.loss_scale.value = float(header["loss_scale"]["value"])
            self.train_step.loss_scale.calm_steps = int(header["loss_scale"]["calm_steps"])

    def _conversion(self) -> Kernels | Literal["torch"] | None:
        """How the model is made faster: by what the run is, so that a run that is resumed computes as before."""
        if self.kernels is not None:
            return self.kernels
        wanted = self.config.hardware.compiler
        tokens = self.plan.total_steps * self.plan.tokens_per_step / self.ranks.world_size
        worth_it = worth_compiling(self.device.device, tokens * self.shape.flops_per_token())
        return "torch" if wanted == "torch" or (wanted == "auto" and worth_it) else None

    def _build_model(self, weights: dict[str, torch.Tensor] | None) -> GPT:
        model = GPT(self.shape, dropout=self.config.model.dropout, compute_dtype=self.device.dtype)
        if weights is None:
            model.init_weights(self.config.training.seed)
        else:
            model.load_state_dict(weights, strict=True)
        return model.to(self.device.device)

    @property
    def next_learning_rate(self) -> float:
        """Of the step to come: the schedule's, halved for each time that the run has gone back."""
        return self.plan.schedule(self.step + 1) * 0.5**self.rollbacks

    def take_step(self) -> None:
        """Do the next optimizer step on this process's share of its rows.

        Raises:
            ResourceError: it does not fit into memory.
        """
        context, seed = self.plan.context_length, self.config.training.seed
        rows = self._next_rows()
        batches = [self._train_split.batch(part, context_length=context, seed=seed) for part in rows]
        with explained(no_room_to_train(self.plan, in_pieces=self.config.training.auto_batch)):
            outcome = self.train_step(batches, rows=rows, learning_rate=self.next_learning_rate)
        self.step += 1
        self.meter.add(outcome)
        if self.ema is not None:
            self.ema.update(self.step)

    def _next_rows(self) -> list[range]:
        """Row numbers of this process's micro-batches; which rows a step has depends on nothing but its number."""
        plan, share = self.plan, self.plan.batch_size // self.ranks.world_size
        first = self.step * plan.rows_per_step + self.ranks.rank * share
        starts = [first + micro * plan.batch_size for micro in range(plan.accumulation)]
        return [range(start, start + share) for start in starts]

    @property
    def is_diverged(self) -> bool:
        """Whether too many steps in a row were refused; waits for the device.

        In float16 refusals are how the loss scale is found, so there the scale alone decides.
        """
        scale = self.train_step.loss_scale
        return scale.is_lost if scale is not None else self.meter.refused_in_a_row >= PATIENCE

    def weights_are_finite(self) -> bool:
        """Whether they may be written: no checkpoint on disk ever holds anything else."""
        norms = torch._foreach_norm(list(self.model.parameters()))
        return bool(torch.isfinite(torch.stack(norms)).all())

    def checkpoint(self) -> Checkpoint:
        """The whole state; every process must call it, for they agree on it."""
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
            **self.meter.state(),
            "parts": self.ranks.max_int(self.train_step.parts),
            "rollbacks": self.rollbacks,
            "inference_weights": self.inference_weights,
            "loss_scale": dataclasses.asdict(scale) if scale is not None else None,
            "train_seconds": self.meter.train_seconds,
            "elapsed_seconds": self.meter.elapsed_seconds,
            "dtype": self.device.dtype_name,
            "threads": torch.get_num_threads(),
            "compiled": self.compiled,
            "processes": self.ranks.world_size,
            "dataset_sha256": self.dataset.sha256,
            "tokenizer_sha256": self.dataset.tokenizer.sha256,
            "conversations": self.dataset.conversations,
            "dataset": self.dataset.facts(),
        }
        return Checkpoint(
            shape=self.shape,
            model=dict(self.model.state_dict()),
            tokenizer_proto=self.dataset.tokenizer.proto,
            header=header,
            optimizer=self.optimizer.state(),
            ema=self.ema.state() if self.ema is not None else None,
        )


def _weights(resume: Checkpoint | None, init_from: Checkpoint | None) -> dict[str, torch.Tensor] | None:
    """What to begin with: to go on, the weights as they were; to start anew, those that predict best."""
    if resume is not None:
        return resume.model
    return init_from.inference_weights if init_from is not None else None


def plan_run(config: Config, dataset: PreparedDataset, *, world_size: int = 1) -> RunPlan:
    """The plan for this config on this dataset, without building anything.

    Raises:
        ConfigError: the batch cannot be shared out, or sizes are missing.
    """
    context = resolve(config.model, dataset.tokenizer.vocab_size).context_length
    return make_plan(
        complete(config, dataset).training,
        context_length=context,
        rows_per_epoch=dataset.split("train").rows_per_epoch(context),
        world_size=world_size,
    )
