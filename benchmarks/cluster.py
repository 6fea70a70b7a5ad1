"""What training a preset on 8 and on 64 GPUs would take, by arithmetic: nothing here was run on a GPU.

    python benchmarks/cluster.py [--preset gpt-medium] [--gpus 8 64] [--step-tokens 524288 2097152] [--mfu 0.4 0.55]

It prints the tables of docs/scale.md. Operations, weights, gradients, optimizer and activations are counted from nima's
own shapes, and messages as nima sends them: one all-reduce of float32 gradients after the backward pass, which nothing
hides, and one all-gather of Muon's updates for each shape of matrix, padded so that all processes send as much. The
rates of the hardware are those of data sheets (H100 or H200: 989 TFLOP/s in bfloat16; NVLink 4: 450 GB/s a direction;
400 Gb/s of InfiniBand for each GPU), of which messages are given `--of-wire`.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nima_cli.config.load import load_config
from nima_cli.config.schema import PRESET_VOCAB_SIZES, Config
from nima_cli.engine.model.shape import ModelShape, resolve
from nima_cli.engine.training.planning import costs
from nima_cli.engine.training.planning.costs import checkpoint_bytes, optimizer_bytes

GPU = 989e12  # operations a second
NVLINK, INFINIBAND = 450e9, 50e9  # bytes a second, one direction, one GPU
PER_NODE = 8
DISK = 1e9  # bytes a second of a checkpoint's write and of its reading back
_MUON_STEPS = 5


@dataclass(frozen=True)
class Plan:
    """One way to run it.

    Attributes:
        rows: of one GPU in one forward pass.
        step_tokens: of all GPUs in an optimizer step.
        mfu: the share of the peak that forward and backward reach.
        of_wire: the share of a link's rate that messages reach.
    """

    shape: ModelShape
    config: Config
    gpus: int
    rows: int
    step_tokens: int
    mfu: float
    of_wire: float

    @property
    def accumulation(self) -> float:
        """Forward passes in a step; below 1, the rows at once are fewer."""
        return self.step_tokens / (self.gpus * self.rows * self.shape.context_length)

    @property
    def compute(self) -> float:
        """Seconds of forward and backward in a step."""
        return self.step_tokens * self.shape.flops_per_token() / (self.gpus * GPU * self.mfu)

    @property
    def muon(self) -> float:
        """Seconds of orthogonalising: the matrices are shared out."""
        operations = 0.0
        for (rows, columns), count in matrices(self.shape).items():
            short, long = sorted((rows, columns))
            mine = math.ceil(count / self.gpus)
            operations += mine * _MUON_STEPS * (4 * short * short * long + 2 * short**3)
        return operations / (GPU * self.mfu)

    @property
    def wire(self) -> float:
        """Bytes a second between GPUs; a ring over several machines goes at the pace of its slowest link."""
        return self.of_wire * (NVLINK if self.gpus <= PER_NODE else INFINIBAND)

    @property
    def gradients(self) -> float:
        """Seconds of the all-reduce, as a ring."""
        return 2 * (self.gpus - 1) / self.gpus * 4 * self.shape.parameters() / self.wire

    @property
    def updates(self) -> float:
        """Seconds of the all-gathers, with their padding."""
        padded = sum(
            math.ceil(count / self.gpus) * self.gpus * rows * columns
            for (rows, columns), count in matrices(self.shape).items()
        )
        return (self.gpus - 1) / self.gpus * 4 * padded / self.wire

    @property
    def step(self) -> float:
        """Seconds, nothing overlapping."""
        return self.compute + self.muon + self.gradients + self.updates

    @property
    def speed(self) -> float:
        """Tokens a second of all GPUs."""
        return self.step_tokens / self.step


def matrices(shape: ModelShape) -> Counter[tuple[int, int]]:
    """Shapes of what Muon steps, with how many there are of each."""
    return Counter(
        (size[0], size[1]) for name, size in shape.tensors().items() if len(size) == 2 and name.startswith("layers.")
    )


def memory(plan: Plan) -> Iterator[tuple[str, float]]:
    """Bytes of one GPU, by what they are for."""
    weights, batch = 4 * plan.shape.parameters(), {"batch_size": plan.rows}
    config = Config.model_validate(
        {**plan.config.model_dump(), "training": {**plan.config.training.model_dump(), **batch}}
    )
    optimizer = optimizer_bytes(plan.shape, config)
    momenta = 4 * sum(rows * columns * count for (rows, columns), count in matrices(plan.shape).items())
    step = costs.memory(plan.shape, config, costs.Means("cuda", 2), sequences=plan.rows).step
    yield "weights, float32", weights
    yield "gradients, float32", weights
    yield "a copy of them for the exchange", weights
    yield "AdamW of embeddings and gains", optimizer - momenta
    yield "Muon's momentum, shared out", momenta / plan.gpus
    yield f"activations of {plan.rows} rows, and Muon's update", step - weights


def steps_table(plans: Sequence[Plan]) -> Iterator[str]:
    """Where a step's time goes."""
    yield "| GPUs | tokens a step | MFU of computing | compute | Muon | gradients | updates | tokens/s | MFU of all |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for plan in plans:
        times = (f"{1e3 * seconds:.0f} ms" for seconds in (plan.compute, plan.muon, plan.gradients, plan.updates))
        whole = plan.speed * plan.shape.flops_per_token() / (plan.gpus * GPU)
        yield (
            f"| {plan.gpus} | {plan.step_tokens:,} | {plan.mfu:.0%} | {' | '.join(times)} | {plan.speed / 1e6:.2f} M "
            f"| {whole:.0%} |"
        )


def memory_table(plans: Sequence[Plan]) -> Iterator[str]:
    """What one GPU holds."""
    columns = [dict(memory(plan)) for plan in plans]
    yield "| GB on each GPU of | " + " | ".join(str(plan.gpus) for plan in plans) + " |"
    yield "|---" * (len(plans) + 1) + "|"
    for name in columns[0]:
        yield f"| {name} | " + " | ".join(f"{column[name] / 1e9:.2f}" for column in columns) + " |"
    yield "| together | " + " | ".join(f"{sum(column.values()) / 1e9:.1f}" for column in columns) + " |"


def facts(plan: Plan, fastest: float) -> Iterator[str]:
    """What does not depend on the plan, or only on the fastest of them."""
    shape = plan.shape
    size = checkpoint_bytes(shape, plan.config)
    yield (
        f"{shape.parameters():,} parameters, vocabulary {shape.vocab_size:,}, context {shape.context_length:,}: "
        f"{shape.flops_per_token() / 1e9:.2f} GFLOP for each token"
    )
    width = 2 if shape.vocab_size <= 65535 else 4
    yield f"data: {fastest * width / 1e6:.1f} MB/s of token ids for {fastest / 1e6:.2f} M tokens/s, all GPUs together"
    yield f"checkpoint: {size / 1e9:.2f} GB, {2 * size / DISK:.1f} s to write and read back at {DISK / 1e9:.0f} GB/s"


def main() -> None:
    """Print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--preset", choices=tuple(PRESET_VOCAB_SIZES), default="gpt-medium")
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--rows", type=int, default=16, help="of one GPU in one forward pass, at most")
    parser.add_argument("--step-tokens", type=int, nargs="+", default=[524288, 2097152])
    parser.add_argument("--mfu", type=float, nargs="+", default=[0.4, 0.55])
    parser.add_argument("--of-wire", type=float, default=0.7, help="share of a link's rate that messages reach")
    asked = parser.parse_args()
    config = load_config(None, preset=asked.preset, environ={}).config
    shape = resolve(config.model, PRESET_VOCAB_SIZES[asked.preset])
    plans = [
        Plan(
            shape, config, gpus, min(asked.rows, tokens // (gpus * shape.context_length)), tokens, mfu, asked.of_wire
        )
        for gpus in asked.gpus
        for tokens in asked.step_tokens
        for mfu in asked.mfu
    ]  # fmt: skip
    print("\n".join(facts(plans[0], max(plan.speed for plan in plans))), end="\n\n")
    print("\n".join(steps_table(plans)), end="\n\n")
    roomy = {plan.gpus: plan for plan in plans}
    print("\n".join(memory_table(list(roomy.values()))))


if __name__ == "__main__":
    main()
