"""`nima generate`: continues prompts."""

import io
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nima_cli.cli import options
from nima_cli.cli.compiled import compile_decoder_meanwhile
from nima_cli.cli.inference import chosen_checkpoint, load_model, require_text, sampling, say_unreachable_top_k
from nima_cli.cli.options import option, path_option
from nima_cli.errors import InputError

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
    path: options.CheckpointArgument = None,
    checkpoint: options.CheckpointPath = None,
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
    where = chosen_checkpoint(path, checkpoint, quiet=quiet)
    compile_decoder_meanwhile(device)
    seeds = range(seed, seed + num_samples)
    drawn = sampling(
        seeds, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
    )
    how: dict[str, Any] = {"sampling": drawn, "max_new_tokens": max_new_tokens, "stop": tuple(stop or ())}
    loaded = load_model(where, device=device, dtype=dtype, quiet=quiet)
    generator = loaded.generator()
    if not quiet:
        say_unreachable_top_k(drawn.top_k, loaded.tokenizer.vocab_size)
        _say_what_was_cut(generator, prompts, max_new_tokens)
    if json:
        from nima_cli.cli.event_handlers import print_json

        found = [generator.complete(text, seed=seed, num_samples=num_samples, **how) for text in prompts]
        print_json({"completions": [asdict(one) for several in found for one in several]})
    else:
        _stream(generator, prompts, seeds, how)


def _prompts(given: list[str], file: Path | None) -> list[str]:
    """The prompts as text."""
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
    """The text of a file without its last line end, whichever kind it is of."""
    from nima_cli.engine.data.document import with_line_feeds

    try:
        data = _stdin() if str(path) == "-" else path.read_bytes()
        return with_line_feeds(data.decode("utf-8-sig")).removesuffix("\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8") from error


def _stdin() -> bytes:
    """All of stdin; nothing where its descriptor was closed when Python started."""
    stream: IO[str] | None = sys.stdin
    return stream.buffer.read() if isinstance(stream, io.TextIOWrapper) else b""


def _stream(generator: "TextGenerator", prompts: Sequence[str], seeds: range, how: dict[str, Any]) -> None:
    """Each prompt and its continuations, as they come; where there are several in all, a line stands above each."""
    from nima_cli.ui.answer_view import PlainAnswer
    from nima_cli.ui.console import write_out

    total = len(prompts) * len(seeds)
    for number, (prompt, seed) in enumerate(((prompt, seed) for prompt in prompts for seed in seeds), start=1):
        if total > 1:
            write_out(f"--- {number} of {total} (seed {seed}) ---\n")
        text = PlainAnswer()
        text.push(prompt)
        for piece in generator.stream(generator.encode_prompt(prompt), seed=seed, **how):
            text.push(piece)
        text.finish()


def _say_what_was_cut(generator: "TextGenerator", prompts: Sequence[str], max_new_tokens: int) -> None:
    from nima_cli.ui.console import say

    for number, prompt in enumerate(prompts, start=1):
        if dropped := generator.dropped(generator.encode_prompt(prompt), max_new_tokens):
            which = "the prompt" if len(prompts) == 1 else f"prompt {number}"
            say(f"{which} is longer than the context: its first {dropped} tokens did not fit", "warning")
