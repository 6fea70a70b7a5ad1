"""`nima generate`: continues prompts."""

import dataclasses
import io
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from nima_cli.cli.compiled import compile_decoder_meanwhile
from nima_cli.cli.inference import chosen_checkpoint, load_model, require_text, sampling, say_unreachable_top_k
from nima_cli.cli.options import (
    CheckpointArgument,
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
    path_of,
)
from nima_cli.errors import InputError

if TYPE_CHECKING:
    from nima_cli.engine.inference.sampling import SamplingParams
    from nima_cli.engine.inference.text import Completion, TextGenerator

EXAMPLES = examples(
    'nima generate --prompt "Kubernetes is"',
    'nima generate --prompt "def main" "class App" --num-samples 3 --temperature 0.7',
    "nima generate --checkpoint best.pt --prompt-file question.txt --json",
    "cat question.txt | nima generate --checkpoint best.pt --prompt-file -",
    note="best.pt is a checkpoint file, question.txt any text of yours.",
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Options:
    """How each continuation is made."""

    sampling: "SamplingParams"
    max_new_tokens: int
    seed: int
    num_samples: int
    stop: tuple[str, ...]


def generate(
    path: CheckpointArgument = None,
    checkpoint: CheckpointPath = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="Text to continue; takes several.", metavar="TEXT...", show_default=False),
    ] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option(
            "--prompt-file",
            help="A file with the prompt; - for stdin.",
            metavar="FILE",
            parser=path_of,
            show_default=False,
        ),
    ] = None,
    max_new_tokens: MaxNewTokens = 128,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    num_samples: Annotated[int, typer.Option("--num-samples", help="Continuations of each prompt.", metavar="N")] = 1,
    seed: Seed = 0,
    stop: Stop = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    debug: Debug = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Continue one or more prompts; the text goes to stdout.

    A continuation depends on its prompt and its seed alone, not on what else is asked for.
    """
    prompts = _prompts(prompt or [], prompt_file)
    if max_new_tokens < 1 or num_samples < 1:
        name = "--max-new-tokens" if max_new_tokens < 1 else "--num-samples"
        raise InputError(f"`{name}` must be at least 1")
    where = chosen_checkpoint(path, checkpoint, quiet=quiet)
    compile_decoder_meanwhile(device)
    from nima_cli.engine.inference.sampling import check_seed

    drawn = sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
    )
    check_seed(seed)
    check_seed(seed + num_samples - 1)
    options = _Options(drawn, max_new_tokens, seed, num_samples, tuple(stop or ()))
    loaded = load_model(where, device=device, dtype=dtype, quiet=quiet)
    generator = loaded.generator()
    if not quiet:
        say_unreachable_top_k(drawn.top_k, loaded.tokenizer.vocab_size)
    if json:
        from nima_cli.cli.event_handlers import print_json

        found = [_complete(generator, prompts, number, options, quiet=quiet) for number in range(len(prompts))]
        print_json({"completions": [dataclasses.asdict(one) for several in found for one in several]})
        return
    for number in range(len(prompts)):
        _print(generator, prompts, number, options, quiet=quiet)


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


def _complete(
    generator: "TextGenerator", prompts: list[str], number: int, options: _Options, *, quiet: bool
) -> "list[Completion]":
    """All continuations of one prompt."""
    found = generator.complete(
        prompts[number],
        sampling=options.sampling,
        max_new_tokens=options.max_new_tokens,
        seed=options.seed,
        num_samples=options.num_samples,
        stop=options.stop,
    )
    if not quiet:
        _say_what_was_cut(found[0].prompt_tokens_dropped, prompts, number)
    return found


def _print(generator: "TextGenerator", prompts: list[str], number: int, options: _Options, *, quiet: bool) -> None:
    """One prompt and its continuations as they come; a line stands above each where there are several in all."""
    from nima_cli.ui.answer_view import PlainAnswer
    from nima_cli.ui.console import write_out

    ids = generator.encode_prompt(prompts[number])
    if not quiet:
        _say_what_was_cut(generator.dropped(ids, options.max_new_tokens), prompts, number)
    total = len(prompts) * options.num_samples
    for sample in range(options.num_samples):
        seed = options.seed + sample
        if total > 1:
            write_out(f"--- {number * options.num_samples + sample + 1} of {total} (seed {seed}) ---\n")
        text = PlainAnswer()
        text.push(prompts[number])
        for piece in generator.stream(
            ids,
            sampling=options.sampling,
            max_new_tokens=options.max_new_tokens,
            seed=seed,
            stop=options.stop,
        ):
            text.push(piece)
        text.finish()


def _say_what_was_cut(dropped: int, prompts: list[str], number: int) -> None:
    from nima_cli.ui.console import say

    if dropped:
        which = f"prompt {number + 1}" if len(prompts) > 1 else "the prompt"
        say(f"{which} is longer than the context: its first {dropped} tokens did not fit", "warning")
