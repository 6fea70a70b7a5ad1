"""What eval, generate and chat share: a model that is loaded and placed, and what is checked before and said after."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nima_cli.cli.compiled import compiled
from nima_cli.errors import InputError

if TYPE_CHECKING:
    from nima_cli.engine.checkpoint import Checkpoint
    from nima_cli.engine.data.tokenizer import Tokenizer
    from nima_cli.engine.inference.int8 import Int8Rows
    from nima_cli.engine.inference.stepper import Stepper
    from nima_cli.engine.inference.text import TextGenerator
    from nima_cli.engine.model.gpt import GPT

DTYPES = ("auto", "float32", "bfloat16", "int8")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to use, and the file it came from.

    Attributes:
        rows: its matrices in 8 bit, if it was asked for in int8.
        quiet: say nothing about how it is used.
    """

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

    def stepper(self) -> "Stepper | None":
        """A compiled program that decodes with it, where this machine can have one; says why where it cannot."""
        from nima_cli.engine.inference.native.stepper import native_stepper
        from nima_cli.engine.native.build import NoProgramError
        from nima_cli.ui.console import say

        try:
            return native_stepper(self.model, compiled(), self.rows)
        except NoProgramError as error:
            if not self.quiet:
                say(f"writing with torch alone, up to thirteen times as slow: {error.message}", "warning")
                if error.hint is not None:
                    say(error.hint, "hint")
            return None

    def generator(self) -> "TextGenerator":
        """What writes text with it, as fast as this machine can."""
        from nima_cli.engine.inference.text import TextGenerator

        return TextGenerator(self.model, self.tokenizer, self.stepper())


def load_model(path: Path, *, device: str, dtype: str, batched: bool = False, quiet: bool = False) -> LoadedModel:
    """Load `--checkpoint` onto `--device` in `--dtype`, and say what the user should know about that.

    Args:
        batched: whether many tokens will go through it at once.
        quiet: say nothing.

    Raises:
        InputError: no such device name or type.
        CheckpointError: the checkpoint cannot be used.
        DeviceError: the device is absent.
    """
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise InputError(f"`--device {device}`: no such device", hint="use auto, cpu, cuda or mps")
    if dtype not in DTYPES:
        raise InputError(f"`--dtype {dtype}`: no such type", hint=f"use {', '.join(DTYPES)}")
    from nima_cli.engine import checkpoint as checkpoints
    from nima_cli.engine.checkpoint_files import find
    from nima_cli.engine.device import pick_inference_device
    from nima_cli.engine.inference.int8 import quantize_
    from nima_cli.ui.console import say

    place = pick_inference_device(device, "auto" if dtype == "int8" else dtype, batched=batched)
    for note in () if quiet else place.notes:
        say(note.message, note.level)
    file = find(path)
    model, tokenizer, checkpoint = checkpoints.load_for_inference(file, compute_dtype=place.dtype)
    rows = quantize_(model) if dtype == "int8" else {}
    return LoadedModel(file, model.to(place.device, place.dtype), tokenizer, checkpoint, rows, quiet)


def require_text(where: str, text: str) -> None:
    """Refuse what a shell passed on as bytes that are no UTF-8; `where` is the flag.

    Raises:
        InputError: the text holds such bytes.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: not valid UTF-8", hint="convert it, for example with `iconv`") from error


def say_unreachable_top_k(top_k: int, vocab_size: int) -> None:
    """Say that a `--top-k` beyond the vocabulary is as good as none."""
    from nima_cli.ui.console import say

    if top_k > vocab_size:
        say(f"`--top-k` {top_k} is more than the {vocab_size} tokens there are: all of them are kept", "warning")
