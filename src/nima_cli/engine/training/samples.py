"""Text samples while training, so that people can watch a model learn to write; disturbs no training randomness."""

from collections.abc import Callable, Iterator

from nima_cli.config.schema import GenerationConfig
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.engine.model.gpt import GPT
from nima_cli.events import SampleDrawn


def draw_samples(
    model: GPT,
    tokenizer: Tokenizer,
    config: GenerationConfig,
    *,
    seed: int,
    step: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[SampleDrawn]:
    """Continue each configured prompt with the model as it is now; the model is left in the mode it was in.

    Args:
        should_stop: asked between tokens; true ends it, and a sample that is not complete is not told.
    """
    was_training = model.training
    generator = TextGenerator(model, tokenizer)
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
            for sample in range(config.num_samples):
                text = ""
                for piece in generator.stream(
                    ids, sampling=sampling, max_new_tokens=config.max_length, seed=seed + sample
                ):
                    if should_stop():
                        return
                    text += piece
                yield SampleDrawn(step=step, prompt=prompt, text=text)
    finally:
        model.train(was_training)
