"""`nima generate`: continues prompts."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nima_cli.cli.options import (
    CheckpointPath,
    Debug,
    Device,
    Dtype,
    Json,
    MaxNewTokens,
    MinP,
    Quiet,
    RepetitionPenalty,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    examples,
)
from nima_cli.errors import InputError

if TYPE_CHECKING:
    from nima_cli.engine.inference.sampling import Sampling
    from nima_cli.engine.inference.text import TextGenerator

EXAMPLES = examples(
    'nima generate --checkpoint best.pt --prompt "Kubernetes is"',
    'nima generate --checkpoint best.pt --prompt "def main" "class App" --num-samples 3 --temperature 0.7',
    "cat question.txt | nima generate --checkpoint best.pt --prompt-file - --json",
)


def generate(
    checkpoint: CheckpointPath,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", help="Text to continue; takes several.", show_default=False)
    ] = None,
    prompt_file: Annotated[
        Path | None, typer.Option("--prompt-file", help="A file with the prompt; - for stdin.", show_default=False)
    ] = None,
    max_new_tokens: MaxNewTokens = 128,
    temperature: Temperature = 0.8,
    top_k: TopK = 50,
    top_p: TopP = 0.95,
    min_p: MinP = 0.0,
    repetition_penalty: RepetitionPenalty = 1.0,
    num_samples: Annotated[int, typer.Option("--num-samples", help="Continuations of each prompt.")] = 1,
    seed: Seed = 0,
    stop: Stop = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    debug: Debug = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Continue one or more prompts; the text goes to stdout."""
    prompts = _prompts(prompt or [], prompt_file)
    if max_new_tokens < 1 or num_samples < 1:
        name = "--max-new-tokens" if max_new_tokens < 1 else "--num-samples"
        raise InputError(f"`{name}` must be at least 1")
    from nima_cli.engine.inference.sampling import Sampling
    from nima_cli.engine.inference.text import TextGenerator

    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    from nima_cli.cli.inference import load_model

    loaded = load_model(checkpoint, device=device, dtype=dtype)
    generator = TextGenerator(loaded.model, loaded.tokenizer)
    if json or len(prompts) * num_samples > 1:
        _print_all(generator, prompts, sampling, max_new_tokens, seed, num_samples, stop or [], json=json)
    else:
        _stream(generator, prompts[0], sampling, max_new_tokens, seed, stop or [])
    if not quiet:
        _say_what_was_cut(generator, prompts, max_new_tokens)


def _prompts(given: list[str], file: Path | None) -> list[str]:
    """The prompts as text.

    Raises:
        InputError: none or an empty one was given, or it is not UTF-8.
    """
    prompts = [_read(Path("-")) if text == "-" else text for text in given]
    if file is not None:
        prompts.append(_read(file))
    if not prompts:
        raise InputError("no prompt was given", hint="use --prompt TEXT or --prompt-file FILE")
    for text in prompts:
        if not text:
            raise InputError("the prompt is empty", hint="give at least one character")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError("the prompt is not valid UTF-8") from error
    return prompts


def _read(path: Path) -> str:
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return data.decode("utf-8-sig").removesuffix("\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8") from error


def _stream(
    generator: "TextGenerator", prompt: str, sampling: "Sampling", max_new_tokens: int, seed: int, stop: list[str]
) -> None:
    """Print the prompt and its continuation as it comes."""
    from nima_cli.ui.console import safe_text

    sys.stdout.write(safe_text(prompt))
    sys.stdout.flush()
    ids = generator.encode_prompt(prompt)
    for piece in generator.stream(ids, sampling=sampling, max_new_tokens=max_new_tokens, seed=seed, stop=stop):
        sys.stdout.write(safe_text(piece))
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()


def _print_all(
    generator: "TextGenerator",
    prompts: list[str],
    sampling: "Sampling",
    max_new_tokens: int,
    seed: int,
    num_samples: int,
    stop: list[str],
    *,
    json: bool,
) -> None:
    from nima_cli.ui.console import safe_text

    completions = [
        completion
        for prompt in prompts
        for completion in generator.complete(
            prompt, sampling=sampling, max_new_tokens=max_new_tokens, seed=seed, num_samples=num_samples, stop=stop
        )
    ]
    if json:
        from nima_cli.cli.views import print_json

        print_json({"completions": [dataclasses.asdict(completion) for completion in completions]})
        return
    for number, completion in enumerate(completions, 1):
        sys.stdout.write(f"--- {number} of {len(completions)} (seed {completion.seed}) ---\n")
        sys.stdout.write(safe_text(completion.prompt + completion.text) + "\n")
    sys.stdout.flush()


def _say_what_was_cut(generator: "TextGenerator", prompts: list[str], max_new_tokens: int) -> None:
    from nima_cli.ui.console import say

    for number, prompt in enumerate(prompts, 1):
        ids = generator.encode_prompt(prompt)
        dropped = len(ids) - len(generator.generator.fit(ids, max_new_tokens))
        if dropped:
            which = f"prompt {number}" if len(prompts) > 1 else "the prompt"
            say(f"{which} has {len(ids)} tokens; its first {dropped} did not fit the context", "warning")
