"""The event that begins a run and the error that ends a diverged one, made from its state."""

import json
from pathlib import Path

from nima_cli import __version__
from nima_cli.engine.data.store.inspection import source_mix
from nima_cli.engine.kernels.trust import precision
from nima_cli.engine.training.state import RunState
from nima_cli.errors import DivergedError
from nima_cli.events import RunStarted

# What computes a run, by what its state calls it.
COMPILED = {
    None: "torch alone",
    "kernels": "compiled kernels",
    "int8 kernels": "compiled kernels and int8 products",
    "torch": "layers compiled by torch",
}
_SHOWN = 5


def run_started(state: RunState, run_dir: Path) -> RunStarted:
    """What this process is about to do."""
    return RunStarted(
        run_dir=run_dir,
        data=state.dataset.folder,
        sources=tuple((one.source, one.epoch_share) for one in source_mix(state.dataset)),
        version=__version__,
        config_json=json.dumps(state.config.model_dump(mode="json")),
        parameters=state.shape.parameters(),
        train_tokens=state.train_split.tokens,
        tokens_per_step=state.plan.tokens_per_step,
        total_steps=state.plan.total_steps,
        first_step=state.step + 1,
        total_epochs=state.plan.total_epochs,
        device=state.device.name,
        dtype=precision(state.device.dtype_name, state.kernels),
        seed=state.config.training.seed,
        compiled=COMPILED["kernels" if state.kernels is not None else state.compiled],  # int8 is said in `dtype`
    )


def diverged(state: RunState, what: str, *, steps: int, good: int | None) -> DivergedError:
    """The end of a run that left the finite numbers, with what a person needs to look into it.

    Args:
        what: was not finite.
        steps: the last ones, whose sequences are named.
        good: step of the last good checkpoint, if there is one.
    """
    plan = state.plan
    rows = range(max(0, state.step - steps) * plan.sequences_per_step, state.step * plan.sequences_per_step)
    seed = state.config.training.seed
    samples = state.train_split.samples_in(rows, context_length=plan.context_length, seed=seed)
    listed = ", ".join(map(str, samples[:_SHOWN]))
    more = f" and {len(samples) - _SHOWN} more" if len(samples) > _SHOWN else ""
    left = "no checkpoint was saved" if good is None else f"the last good checkpoint is of step {good}"
    return DivergedError(
        f"step {state.step}: {what} at learning rate {state.optimizer.learning_rate:g}, on rows {rows[0]} to "
        f"{rows[-1]} of the train split, with its samples {listed}{more}; {left}",
        hint="lower `training.learning_rate` and start again, or let `training.max_rollbacks: 2` do so by itself",
    )
