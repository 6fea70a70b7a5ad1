"""What the processes of a world do in tests of how they add up, share and agree; the first one writes what it found."""

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from nima_cli.engine.data.store.dataset import open_dataset
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.training.distributed.ranks import FailedElsewhereError, PeerLostError, Ranks
from nima_cli.engine.training.distributed.rendezvous import find_dist_env, joined
from nima_cli.engine.training.evaluator import evaluate
from nima_cli.engine.training.optim import Muon
from nima_cli.errors import ConfigError, DataError

GO = torch.tensor(0.0)


def measure_splits(dataset: str, out: str) -> None:
    """Evaluate 1 to 9 windows of the validation split."""
    data = open_dataset(Path(dataset))
    shape = ModelShape(
        vocab_size=data.tokenizer.vocab_size, n_layers=1, d_model=16, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=24,
        context_length=16, qk_norm=True, tie_embeddings=True, rope_theta=10000.0,
    )  # fmt: skip
    model = GPT(shape)
    model.init_weights(0)

    def work(ranks: Ranks) -> object:
        lengths = data.tokenizer.byte_lengths()
        found = [
            evaluate(model, data.split("val"), lengths, max_tokens=16 * windows, ranks=ranks)
            for windows in range(1, 10)
        ]
        return [[each.tokens, each.n_correct, each.bytes, each.loss_sum] for each in found]

    _in_place(work, out)


def step_matrices(out: str) -> None:
    """Three steps of Muon on 1, 2 and 5 matrices of a shape; then two from a state that is taken back."""

    def work(ranks: Ranks) -> object:
        sizes = [(4, 6)] + [(6, 4)] * 2 + [(5, 5)] * 5
        generator = torch.Generator().manual_seed(0)
        named = [
            (f"p{index}", nn.Parameter(torch.randn(size, generator=generator))) for index, size in enumerate(sizes)
        ]
        muon = Muon(named, decay=0.1, dtype=torch.float32, ranks=ranks)
        kept = sum(momentum.numel() for momentum in muon.momenta.values())
        for step in range(5):
            if step == 3:
                state = muon.state()
                muon = Muon(named, decay=0.1, dtype=torch.float32, ranks=ranks)
                muon.load_state(state)
            for _, parameter in named:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            muon.step(0.01, GO)
        momenta = {name: state["momentum"].tolist() for name, state in muon.state().items()}
        return {
            "weights": {name: parameter.tolist() for name, parameter in named},
            "momenta": momenta,
            "kept": ranks.max_int(kept),
            "kept_by_all": ranks.sum_int(kept),
        }

    _in_place(work, out)


def fail_together(out: str) -> None:
    """Two of the processes fail, each for a reason of its own."""

    def work(ranks: Ranks) -> object:
        said = ""
        try:
            with ranks.raise_together():
                if ranks.rank == 1:
                    raise DataError("the reason")
                if ranks.rank == 2:
                    raise ConfigError("another one")
        except (DataError, FailedElsewhereError) as error:
            said = f"{type(error).__name__} {error.exit_code}"
        with ranks.raise_together():
            pass
        texts = [ranks.broadcast("näher \U0001f600" if ranks.is_first else "not me"), ranks.broadcast("")]
        code = [0, 0, 0]
        code[ranks.rank] = {"": 0, "FailedElsewhereError 2": 1, "DataError 2": 2}[said]
        total = [ranks.sum_int(value) for value in code]
        return {"codes": total, "texts": texts}

    _in_place(work, out)


def wait_for_a_slow_first_step(out: str) -> None:
    """One process takes longer over a step than what the others wait in later ones, and then over a later one."""

    def work(ranks: Ranks) -> object:
        late = ranks.world_size > 1 and ranks.rank == 1
        if late:
            time.sleep(3.0)
        waits = [_patience()]
        first = ranks.sum_int(1)
        ranks.settle()
        waits.append(_patience())
        ranks.settle(timedelta(seconds=1))
        settled = ranks.sum_int(1)
        if late:
            time.sleep(3.0)
        try:
            ranks.sum_int(1)
            lost = False
        except PeerLostError:
            lost = True
        if ranks.is_first:  # the others can no longer be left in order
            Path(out).write_text(json.dumps([waits, first, settled, lost]), encoding="utf-8")
        os._exit(0)

    _in_place(work, out)


def _patience() -> float:
    """Seconds that processes wait for each other by now."""
    group = dist.group.WORLD
    assert group is not None
    options = group._get_backend(torch.device("cpu")).options
    return float(options._timeout.total_seconds())


def _in_place(work: Callable[[Ranks], object], out: str) -> None:
    place = find_dist_env(os.environ)
    if place is None:
        Path(out).write_text(json.dumps(work(Ranks())), encoding="utf-8")
        return
    with joined(place) as ranks:
        found = work(ranks)
        if ranks.is_first:
            Path(out).write_text(json.dumps(found), encoding="utf-8")
