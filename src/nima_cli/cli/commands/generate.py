"""`nima generate`: continues prompts."""

import io
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nima_cli.cli import options
from nima_cli.cli.event_handlers import print_json
from nima_cli.cli.inference import load_to_write, require_text
from nima_cli.cli.options import option, path_option
from nima_cli.errors import InputError
from nima_cli.ui.console import say, write_out

if TYPE_CHECKING:
    from nima_cli.engine.inference.text import TextGenerator

EXAMPLES = options.examples(
    'nima generate --prompt "Kubernetes is"',
    'nima generate --prompt "def main" "class App" --num-samples 3 --temperature 0.7',
    "nima generate --checkpoint best.pt --prompt-file question.txt --json",
    "cat question.txt | nima generate --checkpoint best.pt --prompt-file -",
    note="best.pt is a checkpoint file, question.txt any text of yours.",
)


def generate(
    context: typer.Context,
    path: options.ModelArgument = None,
    checkpoint: options.ModelOption = None,
    prompt: list[str] | None = option(None, "TEXT...", "Text to continue; takes several."),
    prompt_file: Path | None = path_option(None, "FILE", "A file with the prompt; - for stdin."),
    max_new_tokens: options.MaxNewTokens = 128,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    num_samples: int = option(1, "N", "Continuations of each prompt.", min=1),
    seed: options.Seed = 0,
    stop: options.Stop = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    debug: options.Debug = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Continue one or more prompts; the text goes to stdout.

    A continuation depends on its prompt and its seed alone, not on what else is asked for.
    """
    prompts = _prompts(prompt or [], prompt_file)
    seeds = range(seed, seed + num_samples)
    loaded, sampling = load_to_write(context.params, seeds)
    how: dict[str, Any] = {"sampling": sampling, "max_new_tokens": max_new_tokens, "stop": tuple(stop or ())}
    generator = loaded.generator()
    for number, text in enumerate(prompts, start=1) if not quiet else ():
        if dropped := generator.dropped(generator.encode_prompt(text), max_new_tokens):
            which = "the prompt" if len(prompts) == 1 else f"prompt {number}"
            say(f"{which} is longer than the context: its first {dropped} tokens did not fit", "warning")
    if json:
        found = [generator.complete(text, seed=seed, num_samples=num_samples, **how) for text in prompts]
        print_json({"completions": [asdict(one) for several in found for one in several]})
    else:
        _stream(generator, prompts, seeds, how)


def _prompts(given: list[str], file: Path | None) -> list[str]:
    prompts = [_read(Path("-")) if text == "-" else text for text in given]
    if file is not None:
        prompts.append(_read(file))
    if not prompts:
        raise InputError("no prompt was given", hint="use --prompt TEXT or --prompt-file FILE")
    for text in prompts:
        if not text:
            raise InputError("the prompt is empty", hint="give at least one character")
        require_text("the prompt", text)
    return prompts


def _read(path: Path) -> str:
    """The text of a file or of stdin, without its last line end."""
    from nima_cli.engine.data.document import with_line_feeds

    try:
        if str(path) != "-":
            data = path.read_bytes()
        else:  # closed when Python started, stdin is None
            data = sys.stdin.buffer.read() if isinstance(sys.stdin, io.TextIOWrapper) else b""
        return with_line_feeds(data.decode("utf-8-sig")).removesuffix("\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8") from error


def _stream(generator: "TextGenerator", prompts: Sequence[str], seeds: range, how: dict[str, Any]) -> None:
    """Write each prompt and its continuations as they come, under a line of its own if there are several."""
    from nima_cli.ui.answer_view import PlainAnswer

    total = len(prompts) * len(seeds)
    for number, (prompt, seed) in enumerate(product(prompts, seeds), start=1):
        if total > 1:
            write_out(f"--- {number} of {total} (seed {seed}) ---\n")
        text = PlainAnswer()
        text.push(prompt)
        for piece in generator.stream(generator.encode_prompt(prompt), seed=seed, **how):
            text.push(piece)
        text.finish()
