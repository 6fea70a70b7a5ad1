"""Everything that a run changes as it goes, to and from a checkpoint."""

import dataclasses
from typing import Literal

import torch

from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.checkpoint.header import ORIGIN
from nima_cli.engine.data.store.dataset import PreparedDataset
from nima_cli.engine.device import Device
from nima_cli.engine.kernels.convert import convert, worth_compiling
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.lora import Lora, adapters, add_adapters, lora_of
from nima_cli.engine.training.distributed.ranks import Ranks
from nima_cli.engine.training.meter import PATIENCE, Meter
from nima_cli.engine.training.optim import Ema
from nima_cli.engine.training.planning.out_of_memory import explained, no_room_to_train
from nima_cli.engine.training.run_spec import RunSpec
from nima_cli.engine.training.step import TrainStep
from nima_cli.engine.training.stopping import Best, EarlyStopping


def build_model(spec: RunSpec, device: Device) -> GPT:
    """Make the model of a run on the CPU, without weights."""
    return GPT(spec.shape, dropout=spec.config.model.dropout, compute_dtype=device.dtype)


def _origin(started: Checkpoint | None) -> dict[str, str]:
    """What the header of the checkpoint that a run goes on with says about a pretrained model; empty without one."""
    header = started.header if started is not None else {}
    return {key: header[key] for key in ORIGIN if header.get(key) is not None}


class RunState:
    """Model, optimizer, counters and early stopping of one run, between two steps.

    Args:
        resume: a checkpoint of this run to go on from.
        init_from: a checkpoint whose weights a new run starts with.
        rollbacks: of the run until now; None takes what the checkpoint says.
        micro_batches: the fewest to compute each batch in.
        recompute: whether layers are computed twice.

    Attributes:
        compiled: `kernels`, `int8 kernels`, `torch` (it compiles the layers) or None.
    """

    def __init__(
        self,
        spec: RunSpec,
        dataset: PreparedDataset,
        device: Device,
        ranks: Ranks,
        *,
        resume: Checkpoint | None,
        init_from: Checkpoint | None,
        rollbacks: int | None = None,
        micro_batches: int = 1,
        recompute: bool = False,
        kernels: Kernels | None = None,
    ) -> None:
        self.config, self.shape, self.plan = spec.config, spec.shape, spec.plan
        self.dataset, self.device, self.ranks, self.kernels = dataset, device, ranks, kernels
        self.train_split = dataset.split("train")
        header = resume.header if resume is not None else {}
        self.origin = _origin(resume or init_from)
        training = spec.config.training
        self.lora = lora_of(training.lora)
        self.model = self._start_model(spec, resume, init_from)
        self.compiled = convert(self.model, self._conversion(spec))
        micro_batches = max(micro_batches, int(header.get("parts", 1)))
        self.train_step = TrainStep(
            self.model,
            training,
            device,
            kernels=kernels,
            ranks=ranks,
            micro_batches=micro_batches,
            recompute=recompute or training.recompute == "on",
        )
        self.optimizer = self.train_step.optimizer
        self.ema = Ema(self.model, training.ema_decay) if training.ema_decay is not None else None
        self.step = int(header.get("step", 0))
        self.evaluated_step = int(header.get("evaluated_step", 0))
        self.inference_weights = str(header.get("inference_weights", "model"))
        self.rollbacks = int(header.get("rollbacks", 0)) if rollbacks is None else rollbacks
        self.extends = resume is not None and header.get("total_steps") != self.plan.total_steps
        self.stopping = EarlyStopping(training.early_stopping, Best.from_dict(header.get("best", {})))
        self.meter = Meter(device, header)
        if resume is not None:
            self._restore(resume)
        if rollbacks is not None:
            self.meter.forget_skipped()

    def _start_model(self, spec: RunSpec, resume: Checkpoint | None, init_from: Checkpoint | None) -> GPT:
        """Load the weights to resume with, the inference weights to start a new run from, or initialise at random."""
        if self.lora is not None:
            return self._adapted_model(spec, self.lora, resume, init_from).to(self.device.device)
        model = build_model(spec, self.device)
        if resume is not None:
            model.load_state_dict(resume.model, strict=True)
        elif init_from is not None:
            model.load_state_dict(init_from.inference_weights, strict=True)
        else:
            model.init_weights(self.config.training.seed)
        return model.to(self.device.device)

    def _adapted_model(self, spec: RunSpec, lora: Lora, resume: Checkpoint | None, init_from: Checkpoint | None) -> GPT:
        """The frozen weights, whose matrices take the type of computation, and adapters beside them."""
        found = resume.model if resume is not None else init_from.inference_weights if init_from is not None else None
        assert found is not None, "checked when the session was opened"
        with torch.device("meta"):
            model = build_model(spec, self.device)
        frozen = {name: tensor.to(self.device.dtype if tensor.ndim > 1 else None) for name, tensor in found.items()}
        model.load_state_dict(frozen, strict=True, assign=True)
        add_adapters(model, lora, seed=spec.config.training.seed)
        if resume is not None and resume.adapters is not None:
            model.load_state_dict(resume.adapters, strict=False)
        return model

    def _restore(self, resume: Checkpoint) -> None:
        if resume.optimizer is not None:
            self.optimizer.load_state(resume.optimizer)
        if self.ema is not None and resume.ema is not None:
            self.ema.load_state(resume.ema)
        scale, saved = self.train_step.loss_scale, resume.header.get("loss_scale")
        if scale is not None and saved:
            scale.value, scale.calm_steps = float(saved["value"]), int(saved["calm_steps"])

    def _conversion(self, spec: RunSpec) -> Kernels | Literal["torch"] | None:
        """Choose what makes the model faster by the run alone, so that a resumed one computes as before."""
        if self.kernels is not None:
            return self.kernels
        wanted = self.config.hardware.compiler
        tokens = self.plan.total_steps * self.plan.tokens_per_step / self.ranks.world_size
        worth_it = worth_compiling(self.device.device, tokens * spec.sequence_shape.flops_per_token())
        return "torch" if wanted == "torch" or (wanted == "auto" and worth_it) else None

    @property
    def next_learning_rate(self) -> float:
        """The schedule's rate for the next step, halved by each rollback."""
        return self.plan.schedule(self.step + 1) * 0.5**self.rollbacks

    def take_step(self) -> None:
        """Take the next optimizer step on this process's share of its sequences."""
        context, seed = self.plan.context_length, self.config.training.seed
        sequences = self._next_sequences()
        batches = [self.train_split.batch(numbers, context_length=context, seed=seed) for numbers in sequences]
        with explained(no_room_to_train(self.plan, auto_batch=self.config.training.auto_batch)):
            outcome = self.train_step(batches, sequences=sequences, learning_rate=self.next_learning_rate)
        self.step += 1
        self.meter.add(outcome)
        if self.ema is not None:
            self.ema.update(self.step)

    def _next_sequences(self) -> list[range]:
        """Numbers of this process's sequences in each batch: a pure function of the step."""
        plan, share = self.plan, self.plan.batch_size // self.ranks.world_size
        first = self.step * plan.sequences_per_step + self.ranks.rank * share
        starts = [first + batch * plan.batch_size for batch in range(plan.accumulation)]
        return [range(start, start + share) for start in starts]

    @property
    def is_diverged(self) -> bool:
        """Whether too many steps in a row were skipped or, in float16, the loss scale is lost; waits for the device."""
        scale = self.train_step.loss_scale
        return scale.is_lost if scale is not None else self.meter.skipped_in_a_row >= PATIENCE

    def weights_are_finite(self) -> bool:
        """Whether the weights may be written: no checkpoint on disk ever holds others."""
        norms = torch._foreach_norm([*self.optimizer.parameters])
        return bool(torch.isfinite(torch.stack(norms)).all())

    def checkpoint(self) -> Checkpoint:
        """Gather the whole state; every process must call it."""
        scale, trained = self.train_step.loss_scale, adapters(self.model)
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
            "parts": self.ranks.max_int(self.train_step.micro_batches),
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
            "lora": dataclasses.asdict(self.lora) if self.lora is not None else None,
            "dataset": self.dataset.facts(),
            **self.origin,
        }
        return Checkpoint(
            shape=self.shape,
            model={name: tensor for name, tensor in self.model.state_dict().items() if name not in trained},
            tokenizer_proto=self.dataset.tokenizer.proto,
            header=header,
            optimizer=self.optimizer.state(),
            ema=self.ema.state() if self.ema is not None else None,
            adapters=trained or None,
        )
