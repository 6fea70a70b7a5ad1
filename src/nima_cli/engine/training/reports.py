"""Builds what a run reports from its state: how it begins, its text samples, how it diverged."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from nima_cli import __version__
from nima_cli.engine.data.store.inspection import source_mix
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.engine.kernels.trust import precision
from nima_cli.engine.training.state import RunState
from nima_cli.errors import DivergedError
from nima_cli.events import RunStarted, SampleDrawn

# What computes a run, by what its state calls it.
COMPILED = {
    None: "torch alone",
    "kernels": "compiled kernels",
    "int8 kernels": "compiled kernels and int8 products",
    "torch": "layers compiled by torch",
}
_SHOWN = 5


def run_started(state: RunState, run_dir: Path) -> RunStarted:
    """The event that begins a run."""
    return RunStarted(
        run_dir=run_dir,
        data=state.dataset.folder,
        sources=tuple((one["source"], one["epoch_share"]) for one in source_mix(state.dataset)),
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


def draw_samples(state: RunState, *, should_stop: Callable[[], bool]) -> Iterator[SampleDrawn]:
    """Continue each configured prompt with a generator of its own; `should_stop`, polled between tokens, ends it."""
    config, was_training = state.config.evaluation.generation, state.model.training
    generator = TextGenerator(state.model, state.dataset.tokenizer)
    sampling = SamplingParams(
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        min_p=config.min_p,
        repetition_penalty=config.repetition_penalty,
    )
    try:
        for prompt in config.prompts:
            ids = generator.encode_prompt(prompt)
            for number in range(config.num_samples):
                seed, text = state.config.training.seed + number, ""
                for piece in generator.stream(ids, sampling=sampling, max_new_tokens=config.max_length, seed=seed):
                    if should_stop():
                        return
                    text += piece
                yield SampleDrawn(step=state.step, prompt=prompt, text=text)
    finally:
        state.model.train(was_training)


def diverged(state: RunState, what: str, *, steps: int, good: int | None) -> DivergedError:
    """The error that ends a run: what was not finite, in which of the last `steps`, and the `good` step on disk."""
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
