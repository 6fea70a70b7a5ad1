"""Runs that train adapters: exact resume, what a checkpoint holds, what they may not be."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nima_cli.config.schema import Config
from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.file import Checkpoint, build_model
from nima_cli.engine.checkpoint.files import BEST, LAST
from nima_cli.engine.device import Device
from nima_cli.engine.training.planning.costs import Means, checkpoint_bytes, memory
from nima_cli.engine.training.run_spec import make_run_spec
from nima_cli.engine.training.session import Session, open_session
from nima_cli.engine.training.trainer import Trainer
from nima_cli.errors import ConfigError
from tests.engine.training.runs import (
    evaluations,
    losses,
    make_config,
    make_trainer,
    run_to_end,
    same_tensors,
    steps,
    stop_after,
    weights,
)

SHORT = {"max_steps": 12, "optimizer": "adamw", "learning_rate": 0.003}
LORA = {"enabled": True, "rank": 4, "alpha": 8.0, "dropout": 0.1}


def lora_config(**changes: object) -> Config:
    return make_config(**{"lora": LORA, **SHORT, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def start(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model that has learnt a little."""
    folder = tmp_path_factory.mktemp("start")
    run_to_end(make_config(max_steps=8), tiny_dataset, folder)
    return checkpoints.load(folder / LAST)


@pytest.fixture(scope="module")
def whole(
    start: Checkpoint, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[int, str]]:
    folder = tmp_path_factory.mktemp("whole")
    events = list(make_trainer(lora_config(ema_decay=0.9), tiny_dataset, folder, init_from=start).run())
    measured = [event.loss for event in evaluations(events) if event.split == "val"]
    assert measured == sorted(measured, reverse=True), "it learns"
    return folder, losses(events)


def test_only_adapters_change(whole: tuple[Path, dict[int, str]], start: Checkpoint) -> None:
    last = checkpoints.load(whole[0] / LAST)
    assert last.adapters is not None
    assert same_tensors(last.model, start.inference_weights)
    assert last.optimizer is not None
    assert set(last.optimizer) == set(last.adapters)
    assert last.header["lora"] == {"rank": 4, "alpha": 8.0, "targets": list(last.lora.targets), "dropout": 0.1}  # type: ignore[union-attr]


def test_a_resumed_run_is_bit_identical(
    whole: tuple[Path, dict[int, str]], start: Checkpoint, tiny_dataset: Path, tmp_path: Path
) -> None:
    trainers: list[Trainer] = []
    wish = stop_after(trainers, 5)
    trainers.append(make_trainer(lora_config(ema_decay=0.9), tiny_dataset, tmp_path, init_from=start, should_stop=wish))
    begun = losses(list(trainers[0].run()))
    rest = losses(run_to_end(lora_config(ema_decay=0.9), tiny_dataset, tmp_path, resume=LAST))
    assert {**begun, **rest} == whole[1]
    assert same_tensors(weights(tmp_path / LAST), weights(whole[0] / LAST))


def test_inference_merges_the_adapters(whole: tuple[Path, dict[int, str]], tiny_dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(lora_config(ema_decay=0.9), tiny_dataset, whole[0], resume=LAST)
    checkpoint = checkpoints.load(whole[0] / LAST)
    checkpoint.header["inference_weights"] = "model"
    ids = torch.arange(16).view(1, 16)
    merged, adapted = build_model(checkpoint)(ids), trainer.model.eval()(ids)
    torch.testing.assert_close(merged, adapted, rtol=1e-4, atol=1e-4)
    checkpoint.header["inference_weights"] = "ema"
    assert not torch.equal(build_model(checkpoint)(ids), merged)
    assert set(checkpoint.inference_weights) == set(checkpoint.shape.tensors())


def test_a_full_run_goes_on_from_merged_adapters(
    whole: tuple[Path, dict[int, str]], tiny_dataset: Path, tmp_path: Path
) -> None:
    best = checkpoints.load(whole[0] / BEST)
    trainer = make_trainer(make_config(max_steps=1), tiny_dataset, tmp_path, init_from=best)
    assert same_tensors(dict(trainer.model.state_dict()), best.inference_weights)


def test_what_the_model_was_made_from_stays_known(start: Checkpoint, tiny_dataset: Path, tmp_path: Path) -> None:
    """Through the run, through a resume, and through a run that starts from its result."""
    origin = {"pretrained": "a-model", "layout": "qwen3", "licence": "mit"}
    known = replace(start, header={**start.header, **origin})
    folder = tmp_path / "tuned"
    list(make_trainer(lora_config(max_steps=2), tiny_dataset, folder, init_from=known).run())
    list(make_trainer(lora_config(max_steps=3), tiny_dataset, folder, resume=LAST).run())
    resumed = checkpoints.load(folder / LAST)
    list(make_trainer(make_config(max_steps=1), tiny_dataset, tmp_path / "next", init_from=resumed).run())
    for header in (resumed.header, checkpoints.load(tmp_path / "next" / LAST).header):
        assert {key: header[key] for key in origin} == origin
    assert not origin.keys() & start.header.keys()


def test_frozen_matrices_take_the_type_of_computation(start: Checkpoint, tiny_dataset: Path, tmp_path: Path) -> None:
    device = Device(torch.device("cpu"), torch.bfloat16)
    trainer = make_trainer(lora_config(max_steps=2), tiny_dataset, tmp_path, init_from=start, device=device)
    list(steps(trainer.run()))
    saved = checkpoints.load(tmp_path / LAST)
    assert {t.dtype for t in saved.model.values() if t.ndim == 2} == {torch.bfloat16}
    assert {t.dtype for t in saved.model.values() if t.ndim == 1} == {torch.float32}
    assert saved.adapters is not None
    assert {t.dtype for t in saved.adapters.values()} == {torch.float32}
    assert (tmp_path / LAST).stat().st_size < start.nbytes() / 2


def test_there_must_be_a_model_to_adapt(tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="adapters need a model to adapt"):
        open_session(Session(lora_config(), tiny_dataset, tmp_path / "run"))


def test_it_needs_less_memory_and_disk() -> None:
    from nima_cli.config.load import load_config

    changes = {"training.optimizer": "adamw", "training.batch_size": 2}
    full, lora = (
        load_config(preset="gpt-small", overrides={**changes, "training.lora.enabled": on}).config
        for on in (False, True)
    )
    spec = make_run_spec(full, None, vocab_size=8192)
    other = make_run_spec(lora, None, vocab_size=8192)
    means = Means("cpu", 2, kernels=True)
    needed = [memory(spec.shape, one.config, means, sequences=1) for one in (spec, other)]
    assert needed[1].peak < needed[0].peak / 2
    assert checkpoint_bytes(spec.shape, other.config) < checkpoint_bytes(spec.shape, spec.config) / 4
