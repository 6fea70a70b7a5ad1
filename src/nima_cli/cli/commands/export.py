"""`nima export`: writes a checkpoint in the formats of other programs."""

from dataclasses import asdict
from pathlib import Path

from nima_cli.cli.event_handlers import dispatch, print_json
from nima_cli.cli.inference import chosen_checkpoint
from nima_cli.cli.options import CheckpointArgument, CheckpointPath, Debug, Json, Quiet, examples, option, path_option
from nima_cli.ui import formatting
from nima_cli.ui.console import command, out, safe_text, say

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
    from nima_cli.engine.export.run import export_checkpoint
    from nima_cli.events import Exported
    from nima_cli.ui.progress_view import PhaseView

    where = chosen_checkpoint(path, checkpoint, quiet=quiet)
    events = export_checkpoint(where, output, format=format, dtype=dtype, licence=licence)
    exported = dispatch(events, [PhaseView(quiet=quiet)])
    assert isinstance(exported, Exported), "an export ends with it, or raises"
    if json:
        fields = asdict(exported)
        files = [str(file) for file in exported.files]
        print_json({"output": str(fields.pop("path")), "format": format, "dtype": dtype, **fields, "files": files})
        return
    what = f"{formatting.count(exported.parameters)} parameters, {dtype}, {formatting.size(exported.bytes)}"
    lines = [f"{exported.path}: {format}, {what}", f"verified: {'; '.join(exported.verified)}"]
    for line in (*lines, *(f"not verified: {clause}" for clause in exported.unverified)):
        out().print(safe_text(line), soft_wrap=True)
    reads = {
        "gguf": f"llama.cpp reads it: {command('llama-cli', '-m', exported.path, '-p', 'The')}",
        "hf": f"transformers reads it: `AutoModelForCausalLM.from_pretrained({str(exported.path)!r})`",
        "safetensors": f"any program with safetensors reads it: `safetensors.torch.load_file({str(exported.path)!r})`",
    }
    if not quiet:
        say(reads[format], "hint")
