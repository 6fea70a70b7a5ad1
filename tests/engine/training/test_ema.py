"""The average of the weights: what it averages, that it is evaluated and kept, and that the better one is used."""

from pathlib import Path

import pytest
import torch

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.files import BEST, LAST
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.optim import Ema
from tests.engine.training.runs import evaluations, losses, make_config, make_trainer, run_to_end, same_tensors, weights
from tests.engine.training.test_step import SHAPE


def model() -> GPT:
    made = GPT(SHAPE)
    made.init_weights(0)
    return made


def test_it_moves_by_the_decay_and_faster_at_the_start() -> None:
    followed = model()
    ema = Ema(followed, 0.9)
    expected = followed.norm.weight.detach().clone()
    for step in (1, 2, 50, 500):
        with torch.no_grad():
            followed.norm.weight.add_(step)
        ema.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * followed.norm.weight.detach()
    torch.testing.assert_close(ema.state()["norm.weight"], expected)


def test_it_takes_the_place_of_the_weights_for_a_while_only() -> None:
    followed = model()
    ema = Ema(followed, 0.9)
    with torch.no_grad():
        followed.norm.weight.add_(3.0)

    def fail() -> None:
        with ema.applied():
            assert followed.norm.weight.eq(1.0).all()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert followed.norm.weight.eq(4.0).all()


def test_training_is_the_same_with_it_and_it_is_evaluated_and_kept(tiny_dataset: Path, tmp_path: Path) -> None:
    plain = run_to_end(make_config(), tiny_dataset, tmp_path / "plain")
    with_ema = run_to_end(make_config(ema_decay=0.8), tiny_dataset, tmp_path / "ema")
    assert losses(plain) == losses(with_ema)
    assert same_tensors(weights(tmp_path / "plain" / LAST), weights(tmp_path / "ema" / LAST))
    assert {event.split for event in evaluations(plain)} == {"val"}
    by_split = {
        split: {event.step: event for event in evaluations(with_ema) if event.split == split}
        for split in ("val", "val_ema")
    }
    assert by_split["val"].keys() == by_split["val_ema"].keys() == {5, 10, 15, 20, 24}
    assert [e.loss for e in by_split["val"].values()] == [e.loss for e in evaluations(plain)]
    assert checkpoints.load(tmp_path / "plain" / LAST).ema is None
    # What is used later is what was better at that evaluation, and `best` says where the lower loss was.
    best = checkpoints.load(tmp_path / "ema" / BEST)
    step = best.header["step"]
    averaged, raw = by_split["val_ema"][step], by_split["val"][step]
    better = averaged if averaged.loss < raw.loss else raw
    assert best.header["inference_weights"] == ("ema" if better is averaged else "model")
    assert best.header["best"]["loss"] == better.loss == min(e.loss for e in evaluations(with_ema))
    assert better.best


@pytest.mark.parametrize("chosen", ["model", "ema"])
def test_the_file_says_which_weights_to_use(chosen: str, tiny_dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(make_config(max_steps=2, ema_decay=0.8), tiny_dataset, tmp_path)
    list(trainer.run())
    checkpoint = checkpoints.load(tmp_path / LAST)
    checkpoint.header["inference_weights"] = chosen
    checkpoints.save(tmp_path / "chosen.pt", checkpoint)
    loaded, _, _ = checkpoints.load_for_inference(tmp_path / "chosen.pt")
    expected = checkpoint.ema if chosen == "ema" else checkpoint.model
    assert expected is not None
    assert same_tensors(dict(loaded.state_dict()), expected)
    assert checkpoint.ema is not None
    assert not same_tensors(checkpoint.ema, checkpoint.model)
