"""`nima export`: writes a checkpoint in the formats of other programs."""

from dataclasses import asdict
from pathlib import Path

from nima_cli.cli.event_handlers import dispatch, print_json
from nima_cli.cli.inference import chosen_model
from nima_cli.cli.options import Debug, Json, ModelArgument, ModelOption, Quiet, examples, option, path_option
from nima_cli.cli.references import find_model
from nima_cli.ui import formatting
from nima_cli.ui.console import command, out, safe_text, say

EXAMPLES = examples(
    "nima export --format hf --output exports/technical",
    "nima export --checkpoint experiments/technical --format gguf --output technical.gguf --dtype float16",
    "nima export --checkpoint experiments/tuned --format gguf --output tuned.gguf --dtype q8_0",
    "nima export --checkpoint best.pt --format safetensors --output technical.safetensors --license mit",
    note="best.pt is a checkpoint file; without --checkpoint it is the newest run's.",
)


def export(
    path: ModelArgument = None,
    checkpoint: ModelOption = None,
    format: str = option(..., "NAME", "hf (transformers), gguf (llama.cpp), safetensors, or peft (adapters alone)."),  # noqa: A002
    output: Path = path_option(..., "PATH", "A folder for hf and peft, else a file; an earlier export is replaced."),
    dtype: str = option("float32", "TYPE", "Of the weights: float32, bfloat16 or float16; for gguf q8_0 or q4_0, too."),
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

    where = find_model(chosen_model(path, checkpoint, quiet=quiet), quiet=quiet)
    events = export_checkpoint(where.path, output, format=format, dtype=dtype, licence=licence)
    exported = dispatch(events, [PhaseView(quiet=quiet)])
    assert isinstance(exported, Exported), "an export ends with it, or raises"
    if json:
        fields = asdict(exported)
        files = [str(file) for file in exported.files]
        print_json({"output": str(fields.pop("path")), "format": format, "dtype": dtype, **fields, "files": files})
        return
    what = f"{formatting.count(exported.parameters)} parameters, {dtype}, {formatting.size(exported.bytes)}"
    lines = [f"{exported.path}: {format}, {what}", f"verified: {'; '.join(exported.verified)}"]
    lines += [f"not verified: {clause}" for clause in exported.unverified]
    for line in (*lines, *(f"note: {clause}" for clause in exported.notes)):
        out().print(safe_text(line), soft_wrap=True)
    reads = {
        "gguf": f"llama.cpp reads it: {command('llama-cli', '-m', exported.path, '-p', 'The')}",
        "peft": f"peft reads it: `PeftModel.from_pretrained(model, {str(exported.path)!r})`",
        "hf": f"transformers reads it: `AutoModelForCausalLM.from_pretrained({str(exported.path)!r})`",
        "safetensors": f"any program with safetensors reads it: `safetensors.torch.load_file({str(exported.path)!r})`",
    }
    if not quiet:
        say(reads[format], "hint")
        for file in exported.files:
            if file.suffix == ".Modelfile":
                say(f"Ollama takes it: {command('ollama', 'create', exported.path.stem, '-f', file)}", "hint")
