"""Finds and loads the checkpoint of a command."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nima_cli.cli.compiled import compile_meanwhile, compiled
from nima_cli.cli.options import require_choice
from nima_cli.config.data_help import SAMPLING_HELP
from nima_cli.errors import InputError

if TYPE_CHECKING:
    from nima_cli.engine.checkpoint.file import Checkpoint
    from nima_cli.engine.data.tokenizer.protocol import Tokenizer
    from nima_cli.engine.inference.generator import DecodeBackend
    from nima_cli.engine.inference.sampling import SamplingParams
    from nima_cli.engine.inference.text import TextGenerator
    from nima_cli.engine.kernels.convert import Int8Rows
    from nima_cli.engine.model.gpt import GPT


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to use, and its file; `rows` are its matrices in 8 bit, if asked for in int8."""

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
        """A compiled decoder for it, or None and a warning where this machine cannot have one."""
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
        """Its text generator, as fast as this machine can."""
        from nima_cli.engine.inference.text import TextGenerator

        return TextGenerator(self.model, self.tokenizer, self.backend())


def chosen_checkpoint(argument: Path | None, option: Path | None, *, quiet: bool) -> Path:
    """The checkpoint that the command line names, or the newest run."""
    if argument is not None and option is not None:
        raise InputError(f"the checkpoint is named twice: {argument} and {option}", hint="name it once")
    return argument or option or newest_run("--checkpoint PATH", "checkpoint", quiet=quiet)


def newest_run(option: str, what: str, *, quiet: bool) -> Path:
    """The newest run, for a command line that names none; says which it is."""
    from nima_cli.cli import rundir
    from nima_cli.ui.console import say

    run_dir = rundir.newest_run(option)
    if not quiet:
        say(f"no {what} was named: taking the newest run, {run_dir}")
    return run_dir


def load_to_write(options: Mapping[str, Any], seeds: range) -> "tuple[LoadedModel, SamplingParams]":
    """The model that the options of a command name, and how they say to choose tokens."""
    quiet = options["quiet"]
    path = chosen_checkpoint(options["path"], options["checkpoint"], quiet=quiet)
    from nima_cli.engine.kernels.build import DECODER

    compile_meanwhile(DECODER, options["device"])  # before torch is imported and a model is read
    from nima_cli.engine.inference.sampling import SamplingParams, check_seed
    from nima_cli.ui.console import say

    sampling = SamplingParams(**{name: options[name] for name in SAMPLING_HELP if options[name] is not None})
    check_seed(seeds[0])
    check_seed(seeds[-1])
    loaded = load_model(path, device=options["device"], dtype=options["dtype"], quiet=quiet)
    tokens = loaded.tokenizer.vocab_size
    if sampling.top_k > tokens and not quiet:
        say(f"`--top-k` {sampling.top_k} is more than the {tokens} tokens there are: all of them are kept", "warning")
    return loaded, sampling


def load_model(
    path: Path,
    *,
    device: str,
    dtype: str,
    batched: bool = False,
    quiet: bool = False,
    checkpoint: "Checkpoint | None" = None,
) -> LoadedModel:
    """Load a checkpoint, or take the loaded one, and say what the user should know; `batched`: many tokens at once."""
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
    model, tokenizer, checkpoint = checkpoints.load_for_inference(
        file, compute_dtype=place.dtype, checkpoint=checkpoint
    )
    rows = quantize_(model) if dtype == "int8" else {}
    return LoadedModel(file, model.to(place.device, place.dtype), tokenizer, checkpoint, rows, quiet)


def require_text(where: str, text: str) -> None:
    """Refuse text that a shell passed on as bytes other than UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: not valid UTF-8", hint="convert it, for example with `iconv`") from error
