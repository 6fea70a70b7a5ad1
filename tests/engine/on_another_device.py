"""Trains, evaluates and writes on the device of `stand_in`, in a process of its own, and says what came of it."""

import json
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import torch

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.files import LAST
from nima_cli.engine.data.store.dataset import open_dataset
from nima_cli.engine.device import Device
from nima_cli.engine.evaluation.run import Evaluation, evaluate_split
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.events import Progress
from tests.engine.stand_in import NAME, REACHED, RefusedError, stand_in
from tests.engine.training.runs import evaluations, make_config, make_trainer, steps


def use(device: torch.device, dataset: Path, folder: Path, *, optimizer: str) -> dict[str, Any]:
    """Losses, figures and texts of a run of a few steps that is stopped, resumed, evaluated and written with."""
    folder.mkdir()
    config = make_config(
        model={"dropout": 0.0}, samples=True, optimizer=optimizer, max_steps=6, eval_steps=3, save_steps=3
    )
    place = Device(device, torch.float32)
    events = list(make_trainer(config, dataset, folder, device=place, should_stop=lambda: "INT").run())
    events += make_trainer(config, dataset, folder, device=place, resume=LAST).run()
    model, tokenizer, _ = checkpoints.load_for_inference(folder / LAST, compute_dtype=torch.float32)
    model = model.to(device)
    measured = _result(evaluate_split(model, open_dataset(dataset), "test", samples=2, questions=2))
    sampling = SamplingParams(temperature=0.7, top_k=20, repetition_penalty=1.2, min_p=0.01)
    (written,) = TextGenerator(model, tokenizer).complete(
        "The scheduler", sampling=sampling, max_new_tokens=12, seed=3, num_samples=1, stop=()
    )
    return {
        "losses": [event.loss for event in steps(events)],
        "val": [event.loss for event in evaluations(events)],
        "test": [measured.total.loss, measured.total.n_correct],
        "answers": str(measured.answers),
        "text": written.text,
    }


def _result(steps: Generator[Progress, None, Evaluation]) -> Evaluation:
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            found: Evaluation = ended.value
            return found


def attempts(device: torch.device) -> dict[str, str]:
    """What the device says to what it cannot do."""
    numbers = torch.ones(3).to(device)
    tried: dict[str, Callable[[], object]] = {
        "double": lambda: numbers.double(),
        "made": lambda: torch.zeros(3, dtype=torch.float64, device=device),
        "converted on the way to the CPU": lambda: numbers.to("cpu", torch.float64),
        "mixed": lambda: numbers + torch.ones(3),
        "converted there": lambda: numbers.cpu().double().sum(),
    }
    said = {}
    for name, attempt in tried.items():
        try:
            attempt()
            said[name] = ""
        except RefusedError as error:
            said[name] = str(error)
    return said


def main(dataset: str, folder: str) -> None:
    """Print what was found, as JSON."""

    def use_both(name: str) -> dict[str, Any]:
        return {
            f"{name} {optimizer}": use(
                torch.device(name), Path(dataset), Path(folder) / f"{name} {optimizer}", optimizer=optimizer
            )
            for optimizer in ("muon", "adamw")
        }

    found = use_both("cpu")
    with stand_in():
        found["refused"] = attempts(torch.device(NAME))
        REACHED.clear()
        found |= use_both(NAME)
    names = sorted(name.removeprefix("aten.").removesuffix(".default") for name in REACHED)
    print(json.dumps({**found, "reached": names}))


if __name__ == "__main__":
    main(*sys.argv[1:])
