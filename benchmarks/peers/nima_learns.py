"""nima's own trainer, whole, for so many tokens; `--set` as in `nima train`."""

import contextlib
import math
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from measuring import Learnt, bits_per_byte, learner_arguments
from shapes import SHAPES

from nima_cli.cli.home import compiled
from nima_cli.config.load import load_config
from nima_cli.config.schema import Config
from nima_cli.engine.data.store.dataset import PreparedDataset, open_dataset
from nima_cli.engine.device import keep_freed_memory, pick_device
from nima_cli.engine.kernels.trust import trusted_kernels
from nima_cli.engine.training.loss import linear_cross_entropy
from nima_cli.engine.training.planning.defaults import batch_for
from nima_cli.engine.training.run_spec import make_run_spec
from nima_cli.engine.training.trainer import Trainer
from nima_cli.events import EvalDone, Progress, StepDone

NEVER = 10**6
_TOLERANCE = 0.002  # a share; batches of other sizes round otherwise in bfloat16


def configure(shape: str, tokens: int, evaluations: int, seed: int, told: list[str]) -> Config:
    """The run: as the preset has it, but for its length, its evaluations and what the user set."""
    told = [f"model.context_length={SHAPES[shape].context}", *told]
    plain = load_config(None, preset=shape, set_=told, environ={}).config
    assert plain.model.context_length is not None
    batch = plain.training.batch_size or batch_for(plain.training, plain.model.context_length, tokens)
    rows = batch * plain.training.gradient_accumulation_steps
    steps = max(1, round(tokens / (rows * plain.model.context_length)))
    forced = [
        "training.epochs=10000", f"training.batch_size={batch}", f"training.max_steps={steps}", f"training.seed={seed}",
        f"training.eval_steps={math.ceil(steps / evaluations)}", f"training.save_steps={NEVER}",
        "training.log_steps=1", "evaluation.max_tokens=null", "evaluation.generation.enabled=false",
    ]  # fmt: skip
    return load_config(None, preset=shape, set_=[*told, *forced], environ={}).config


def note(found: Learnt, event: EvalDone, trainer: Trainer) -> None:
    """An evaluation; where the weights and their average are both measured, the better of them."""
    tokens, bits = event.step * trainer.plan.tokens_per_step, event.bits_per_byte
    if found.curve and found.curve[-1][0] == tokens:
        bits = min(bits, found.curve.pop()[2])
    found.evaluated(tokens, bits)


def shipped(trainer: Trainer, dataset: PreparedDataset) -> float:
    """The shared evaluator's figure for the weights that the run ends with, averaged ones if those are better."""
    model, ema = trainer.model, trainer.state.ema

    def logits_of(inputs_BT: torch.Tensor) -> torch.Tensor:
        h_BTC = model.hidden(inputs_BT)
        return F.linear(h_BTC, model.head_weight_VC.to(h_BTC.dtype))

    model.eval()
    averaged = ema is not None and trainer.state.inference_weights == "ema"
    with ema.applied() if ema is not None and averaged else contextlib.nullcontext():
        return bits_per_byte(logits_of, dataset, model.shape.context_length)


def main() -> None:
    """Train, and write what came of it; fails where the two evaluators disagree."""
    parser = learner_arguments()
    parser.add_argument("--set", action="append", default=[], dest="told", help="section.key=value")
    asked = parser.parse_args()
    dataset, found = open_dataset(asked.data), Learnt()
    config = configure(asked.shape, asked.tokens, asked.evaluations, asked.seed, asked.told)
    device = pick_device("cpu", config.training.use_mixed_precision)
    kernels = trusted_kernels(device, config, compiled(), linear_cross_entropy).kernels
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(make_run_spec(config, dataset), dataset, Path(folder), device, kernels=kernels)
        found.begin(asked.started)
        worked, before = time.process_time(), 0.0
        for event in trainer.run():
            if isinstance(event, StepDone):
                found.processor += time.process_time() - worked
                found.steps.append(event.train_seconds - before)
                before = event.train_seconds
            if isinstance(event, EvalDone):
                note(found, event, trainer)
            if not isinstance(event, Progress):
                worked = time.process_time()
        own, found.final = found.final, shipped(trainer, dataset)
    assert math.isclose(own, found.final, rel_tol=_TOLERANCE), f"nima says {own}, the shared evaluator {found.final}"
    found.write(asked.out)


if __name__ == "__main__":
    main()
