"""What adding up gradients between two processes costs: nima's one message after accumulation, against torch's DDP.

DDP sends each layer's gradients while the layers before it are still computed. Both run in the same two processes, one
after the other in each round, so that whatever else the machine does meets both; printed are medians.

    torchrun --nproc-per-node 2 benchmarks/exchange.py
"""

import os
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nima_cli.config.schema import PRESETS, ModelConfig
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import resolve
from nima_cli.engine.training.distributed.ranks import Ranks
from nima_cli.engine.training.distributed.rendezvous import find_dist_env, joined
from nima_cli.engine.training.loss import linear_cross_entropy

ROUNDS = 7
ROWS, CONTEXT = 4, 512


class Loss(nn.Module):
    """A model and its loss as one forward pass, which is what DDP wants."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """Nats summed over all tokens."""
        h_BTC = self.model.hidden(ids_BT)
        return linear_cross_entropy(h_BTC.flatten(0, 1), self.model.head_weight_VC, ids_BT.flatten())


def main() -> None:
    """Time both ways and print what each costs beyond computing alone."""
    place = find_dist_env(os.environ)
    assert place is not None, "start it with torchrun"
    with joined(place) as ranks:
        measure(ranks)


def measure(ranks: Ranks) -> None:
    """Run all rounds; the first process prints."""
    shape = resolve(ModelConfig.model_validate(PRESETS["gpt-tiny"]["model"]), 8192)
    model = GPT(shape)
    model.init_weights(0)
    loss = Loss(model)
    overlapped = DistributedDataParallel(loss)
    ids_BT = torch.randint(0, 8192, (ROWS, CONTEXT), generator=torch.Generator().manual_seed(ranks.rank))

    def gradients() -> list[torch.Tensor]:
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    def compute() -> None:
        loss(ids_BT).backward()

    def ours() -> None:
        compute()
        ranks.sum_tensors_(gradients())

    def theirs() -> None:
        overlapped(ids_BT).backward()

    ways = {"computing alone": compute, "one message": ours, "DDP": theirs}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            seconds[name].append(timed(way, model, ranks))
    if ranks.is_first:
        megabytes = 4 * shape.parameters() / 1e6
        print(f"gpt-tiny, {megabytes:.1f} MB of gradients, {ranks.world_size} processes, {ROWS} rows each")
        for name, found in seconds.items():
            print(f"{name:16} {statistics.median(found):6.3f} s, fastest {min(found):6.3f} s")


def timed(way: Callable[[], None], model: GPT, ranks: Ranks) -> float:
    """Seconds of one pass, begun by all processes together."""
    model.zero_grad()
    ranks.barrier()
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
