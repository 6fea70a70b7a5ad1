"""Text samples while training, to watch a model learn to write; they use none of training's randomness."""

from collections.abc import Callable, Iterator

from nima_cli.config.sampling import SamplingConfig
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.engine.training.state import RunState
from nima_cli.events import SampleDrawn


def draw_samples(state: RunState, *, should_stop: Callable[[], bool]) -> Iterator[SampleDrawn]:
    """Continue each configured prompt with the model as it is now; the model is left in the mode it was in.

    Args:
        should_stop: polled between tokens; true ends the sampling, and an incomplete sample is dropped.
    """
    config, was_training = state.config.evaluation.generation, state.model.training
    generator = TextGenerator(state.model, state.dataset.tokenizer)
    sampling = SamplingParams(**config.model_dump(include=set(SamplingConfig.model_fields)))
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
