"""What the commands that take a checkpoint share: finding it, loading it, and what is checked before and said after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nima_cli.cli.compiled import compiled
from nima_cli.cli.options import require_choice
from nima_cli.errors import InputError

if TYPE_CHECKING:
    from nima_cli.engine.checkpoint.file import Checkpoint
    from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
    from nima_cli.engine.inference.generator import DecodeBackend
    from nima_cli.engine.inference.sampling import SamplingParams
    from nima_cli.engine.inference.text import TextGenerator
    from nima_cli.engine.kernels.convert import Int8Rows
    from nima_cli.engine.model.gpt import GPT


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to use, and the file it came from; `rows` are its matrices in 8 bit, if asked for in int8."""

    path: Path
    model: "GPT"
    tokenizer: "Tokenizer"
    checkpoint: "Checkpoint"
    rows: "Mapping[str, Int8Rows]"
    quiet: bool = False

    @property
    def dtype(self) -> str:
        """The type of its matrices."""
        return "int8" if self.rows else str(self.model.compute_dtype).removeprefix("torch.")

    def backend(self) -> "DecodeBackend | None":
        """A compiled program that decodes with it, where this machine can have one; says why where it cannot."""
        from nima_cli.engine.kernels.build import NoProgramError
        from nima_cli.engine.kernels.decoder import native_backend
        from nima_cli.ui.console import say

        try:
            return native_backend(self.model, compiled(), self.rows)
        except NoProgramError as error:
            if not self.quiet:
                say(f"writing with torch alone, up to thirteen times as slow: {error.message}", "warning")
                if error.hint is not None:
                    say(error.hint, "hint")
            return None

    def generator(self) -> "TextGenerator":
        """What writes text with it, as fast as this machine can."""
        from nima_cli.engine.inference.text import TextGenerator

        return TextGenerator(self.model, self.tokenizer, self.backend())


def chosen_checkpoint(argument: Path | None, option: Path | None, *, quiet: bool) -> Path:
    """The checkpoint that the command line names, or the newest run, which is then said."""
    if argument is not None and option is not None:
        raise InputError(f"the checkpoint is named twice: {argument} and {option}", hint="name it once")
    return argument or option or newest_run("--checkpoint PATH", "checkpoint", quiet=quiet)


def newest_run(option: str, what: str, *, quiet: bool) -> Path:
    """The newest run, for a command that names none; says so."""
    from nima_cli.cli import rundir
    from nima_cli.ui.console import say

    run_dir = rundir.newest_run(option)
    if not quiet:
        say(f"no {what} was named: taking the newest run, {run_dir}")
    return run_dir


def sampling(seeds: Sequence[int], **given: float | None) -> "SamplingParams":
    """How to choose tokens, from options by the names of the settings; None leaves the default."""
    from nima_cli.engine.inference.sampling import SamplingParams, check_seed

    chosen = SamplingParams(**{name: value for name, value in given.items() if value is not None})
    check_seed(seeds[0])
    check_seed(seeds[-1])
    return chosen


def load_model(path: Path, *, device: str, dtype: str, batched: bool = False, quiet: bool = False) -> LoadedModel:
    """Load a checkpoint and say what the user should know about that; `batched`: for many tokens at once."""
    require_choice("--device", device, ("auto", "cpu", "cuda", "mps"))
    require_choice("--dtype", dtype, ("auto", "float32", "bfloat16", "int8"))
    from nima_cli.engine.checkpoint import file as checkpoints
    from nima_cli.engine.checkpoint.files import find
    from nima_cli.engine.device import pick_inference_device
    from nima_cli.engine.kernels.convert import quantize_
    from nima_cli.ui.console import say

    place = pick_inference_device(device, "auto" if dtype == "int8" else dtype, batched=batched)
    for note in () if quiet else place.notes:
        say(note.message, note.level)
    file = find(path)
    model, tokenizer, checkpoint = checkpoints.load_for_inference(file, compute_dtype=place.dtype)
    rows = quantize_(model) if dtype == "int8" else {}
    return LoadedModel(file, model.to(place.device, place.dtype), tokenizer, checkpoint, rows, quiet)


def require_text(where: str, text: str) -> None:
    """Refuse what a shell passed on as bytes that are not UTF-8; `where` is the flag."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: not valid UTF-8", hint="convert it, for example with `iconv`") from error


def say_unreachable_top_k(top_k: int, vocab_size: int) -> None:
    """Say that a `--top-k` beyond the vocabulary is as good as none."""
    from nima_cli.ui.console import say

    if top_k > vocab_size:
        say(f"`--top-k` {top_k} is more than the {vocab_size} tokens there are: all of them are kept", "warning")
