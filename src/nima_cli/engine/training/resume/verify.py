"""Proves with this config on this machine that a resumed run is exact: N steps and N more against 2N at once."""

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.files import LAST
from nima_cli.engine.data.store.dataset import open_dataset
from nima_cli.engine.device import Device
from nima_cli.engine.kernels.trust import precision
from nima_cli.engine.training.distributed.ranks import SINGLE
from nima_cli.engine.training.resume.same_run import flatten
from nima_cli.engine.training.run_spec import make_run_spec
from nima_cli.engine.training.session import Session, open_session, train, training_device
from nima_cli.errors import DeviceError
from nima_cli.events import EvalDone, StepDone

HALF = 3  # steps in each of the two parts: with evaluations every 2 steps, the break lies between two of them
_MOST_WINDOWS = 2
_TIMES = {"train_seconds", "elapsed_seconds", "open_window.seconds"}

_Facts = dict[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a resumed run equals an undisturbed one.

    Attributes:
        difference: the first one, with both values; None if they are equal bit for bit.
        deterministic: whether torch had to add up in a fixed order, which a run itself does not ask for.
    """

    difference: str | None
    steps: int
    device: str
    dtype: str
    threads: int
    seconds: float
    deterministic: bool = False

    @property
    def identical(self) -> bool:
        """Whether all losses, tensors and counters are the same."""
        return self.difference is None

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON."""
        return {"identical": self.identical, **asdict(self)}


def verify_resume(
    config: Config, data_dir: Path, compiled: Path | None = None, *, init_from: Path | None = None
) -> Verdict:
    """Train a few steps at once, and again with a break, after which a fresh process goes on.

    Model, optimizer, batch, precision and device are the config's own; see `shortened` for the rest.

    Args:
        compiled: the folder of compiled programs; None trains without.
        init_from: the model whose weights a run of this config starts with.
    """
    began, threads = time.perf_counter(), torch.get_num_threads()
    device, (kernels, _) = training_device(config, SINGLE, compiled)
    fixed = any_order(device)
    short = shortened(make_run_spec(config, open_dataset(data_dir)).config, samples=not fixed)
    with tempfile.TemporaryDirectory(prefix="nima-verify-") as name:
        whole, halves = Path(name) / "whole", Path(name) / "halves"
        at_once = Session(short, data_dir, whole, init_from=init_from, compiled=compiled)
        begun = replace(at_once, run_dir=halves)
        undisturbed = _run(at_once, None, threads, fixed)
        first = _run(begun, HALF, threads, fixed)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            resumed = replace(begun, resume=halves / LAST, init_from=None)
            second = fresh.submit(_run, resumed, None, threads, fixed).result()
        difference = _first_difference(undisturbed, {**first, **second}) or _tensor_difference(whole, halves)
    seconds = round(time.perf_counter() - began, 1)
    return Verdict(difference, 2 * HALF, device.name, precision(device.dtype_name, kernels), threads, seconds, fixed)


def any_order(device: Device) -> bool:
    """Whether two equal runs differ in bits: attention on CUDA adds gradients up in any order unless told otherwise."""
    return device.device.type == "cuda"


def shortened(config: Config, *, samples: bool = True) -> Config:
    """The config with `2 * HALF` steps and all that could disturb a run: accumulation, evaluations, saves, samples.

    Args:
        samples: whether to draw text, which torch cannot do in a fixed order everywhere.
    """
    values = config.model_dump()
    training = values["training"]
    if training["gradient_accumulation_steps"] == 1 and training["batch_size"] % 2 == 0:
        training["batch_size"] //= 2
    context = config.training.sequence_length or 1024
    training |= {
        "gradient_accumulation_steps": 2, "epochs": 10000.0, "max_steps": 2 * HALF, "eval_steps": 2,
        "save_steps": 2 * HALF, "log_steps": 1,
    }  # fmt: skip
    training["early_stopping"]["enabled"] = False
    values["evaluation"]["max_tokens"] = _MOST_WINDOWS * context
    values["evaluation"]["generation"] |= {"max_length": 8, "num_samples": 1}
    values["evaluation"]["generation"]["enabled"] &= samples
    values["hardware"]["distributed"] = False
    return Config.model_validate(values)


def _run(session: Session, stop_at: int | None, threads: int, fixed: bool) -> _Facts:
    """Train up to step `stop_at` and return the exact figures of steps and evaluations."""
    torch.set_num_threads(threads)
    steps, facts = [0], _Facts()
    with _fixed_order() if fixed else nullcontext():
        for event in train(open_session(session), should_stop=lambda: "INT" if steps[-1] == stop_at else None):
            if isinstance(event, StepDone):
                steps.append(event.step)
                facts[f"loss of step {event.step}"] = event.loss.hex()
                facts[f"gradient norm of step {event.step}"] = event.grad_norm.hex()
            elif isinstance(event, EvalDone):
                facts[f"{event.split} loss after step {event.step}"] = event.loss.hex()
    return facts


@contextmanager
def _fixed_order() -> Iterator[None]:
    """Let torch add up in a fixed order for the block, or fail where it cannot."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        what = str(error).splitlines()[0].split(".")[0]
        raise DeviceError(f"resume cannot be verified here: {what}") from error
    finally:
        torch.use_deterministic_algorithms(before)


def _first_difference(expected: _Facts, found: _Facts) -> str | None:
    for name in (*expected, *(found.keys() - expected.keys())):
        was, now = expected.get(name, "missing"), found.get(name, "missing")
        if was != now:
            return f"{name}: {was} at once, {now} after the break"
    return None


def _tensor_difference(whole: Path, halves: Path) -> str | None:
    """Find the first tensor or counter in which the last checkpoints differ."""
    one, two = checkpoints.load(whole / LAST), checkpoints.load(halves / LAST)
    expected, found = _tensors(one), _tensors(two)
    for name, tensor in expected.items():
        other = found.get(name)
        if other is None or not torch.equal(tensor, other):
            largest = (tensor.float() - other.float()).abs().max().item() if other is not None else float("inf")
            return f"`{name}` differs by up to {largest:g}"
    return _first_difference(
        *({key: str(value) for key, value in flatten(each.header).items() if key not in _TIMES} for each in (one, two))
    )


def _tensors(checkpoint: checkpoints.Checkpoint) -> dict[str, torch.Tensor]:
    optimizer = checkpoint.optimizer or {}
    return {
        **{f"model/{name}": tensor for name, tensor in checkpoint.model.items()},
        **{f"optimizer/{name}/{key}": tensor for name, kept in optimizer.items() for key, tensor in kept.items()},
        **{f"ema/{name}": tensor for name, tensor in (checkpoint.ema or {}).items()},
    }
