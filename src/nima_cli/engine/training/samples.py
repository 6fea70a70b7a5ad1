"""Text samples while training, so that people can watch a model learn to write; disturbs no training randomness."""

from collections.abc import Iterator

from nima_cli.config.schema import GenerationConfig
from nima_cli.engine.data.tokenizer import Tokenizer
from nima_cli.engine.inference.sampling import Sampling
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.engine.model.gpt import GPT
from nima_cli.events import SampleDrawn


def draw_samples(
    model: GPT, tokenizer: Tokenizer, config: GenerationConfig, *, seed: int, step: int
) -> Iterator[SampleDrawn]:
    """Continue each configured prompt with the model as it is now; the model is left in the mode it was in."""
    was_training = model.training
    generator = TextGenerator(model, tokenizer)
    sampling = Sampling(
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        min_p=config.min_p,
        repetition_penalty=config.repetition_penalty,
    )
    try:
        for prompt in config.prompts:
            completions = generator.complete(
                prompt,
                sampling=sampling,
                max_new_tokens=config.max_length,
                seed=seed,
                num_samples=config.num_samples,
            )
            for completion in completions:
                yield SampleDrawn(step=step, prompt=prompt, text=completion.text)
    finally:
        model.train(was_training)
