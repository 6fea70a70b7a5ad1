"""`nima export`: a checkpoint in the formats of other programs."""

from pathlib import Path
from typing import TYPE_CHECKING

from nima_cli.cli.options import CheckpointArgument, CheckpointPath, Debug, Json, Quiet, examples, option, path_option

if TYPE_CHECKING:
    from nima_cli.events import Exported

EXAMPLES = examples(
    "nima export --format hf --output exports/technical",
    "nima export --checkpoint experiments/technical --format gguf --output technical.gguf --dtype float16",
    "nima export --checkpoint best.pt --format safetensors --output technical.safetensors --license mit",
    note="best.pt is a checkpoint file; without --checkpoint it is the newest run's.",
)


def export(
    path: CheckpointArgument = None,
    checkpoint: CheckpointPath = None,
    format: str = option(..., "NAME", "hf (transformers), gguf (llama.cpp) or safetensors."),  # noqa: A002
    output: Path = path_option(..., "PATH", "A folder for hf, else a file; an earlier export is replaced."),
    dtype: str = option("float32", "TYPE", "Type of the weights: float32, bfloat16 or float16."),
    licence: str = option("unknown", "ID", "For the model card, such as mit or cc-by-4.0.", "--license"),
    debug: Debug = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write a checkpoint for transformers, llama.cpp or others.

    It is proved by reading it back.
    """
    from nima_cli.cli.event_handlers import dispatch, print_json
    from nima_cli.cli.inference import chosen_checkpoint
    from nima_cli.engine.export.run import export_checkpoint
    from nima_cli.events import Exported
    from nima_cli.ui.console import say
    from nima_cli.ui.progress_view import PhaseView

    where = chosen_checkpoint(path, checkpoint, quiet=quiet)
    events = export_checkpoint(where, output, format=format, dtype=dtype, licence=licence)
    exported = dispatch(events, [PhaseView(quiet=quiet)])
    assert isinstance(exported, Exported), "an export ends with it, or raises"
    if json:
        print_json(
            {
                "output": str(exported.path),
                "format": format,
                "dtype": dtype,
                "parameters": exported.parameters,
                "files": [str(path) for path in exported.files],
                "bytes": exported.bytes,
                "verified": exported.verified,
                "unverified": exported.unverified,
            }
        )
        return
    _print(exported, format, dtype)
    if not quiet:
        say(_what_next(exported, format), "hint")


def _print(exported: "Exported", format: str, dtype: str) -> None:  # noqa: A002
    from nima_cli.ui import formatting
    from nima_cli.ui.console import out, safe_text

    what = f"{formatting.count(exported.parameters)} parameters, {dtype}, {formatting.size(exported.bytes)}"
    lines = [f"{exported.path}: {format}, {what}", f"verified: {'; '.join(exported.verified)}"]
    lines += [f"not verified: {clause}" for clause in exported.unverified]
    for line in lines:
        out().print(safe_text(line), soft_wrap=True)


def _what_next(exported: "Exported", format: str) -> str:  # noqa: A002
    """How the other program reads it."""
    from nima_cli.ui.console import command

    if format == "gguf":
        return f"llama.cpp reads it: {command('llama-cli', '-m', exported.path, '-p', 'The')}"
    if format == "hf":
        return f"transformers reads it: `AutoModelForCausalLM.from_pretrained({str(exported.path)!r})`"
    return f"any program with safetensors reads it: `safetensors.torch.load_file({str(exported.path)!r})`"
