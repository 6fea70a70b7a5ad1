"""What `nima models show` tells of a model, as one plain object."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nima_cli.cli.references import ModelRef

if TYPE_CHECKING:
    from nima_cli.engine.model.shape import ModelShape
    from nima_cli.engine.pretrained.registry import KnownModel

# Ways to train a model, and the settings of each.
_WAYS: dict[str, dict[str, Any]] = {"full": {}, "lora": {"lora": {"enabled": True}}}


def known_facts(known: "KnownModel") -> dict[str, Any]:
    """What is known of a model that is not here."""
    from nima_cli.engine.model.shape import ModelShape

    shape = ModelShape(**known.sizes, rope_theta=10000.0)  # positions cost nothing
    facts = {"name": known.name, "path": None, "parameters": known.parameters, **_of_the_list(known)}
    return {**facts, "shape": shape.to_dict(), "training": list(_training(shape, known.name))}


def pretrained_facts(ref: ModelRef) -> dict[str, Any]:
    """What a model that others trained says of itself, without reading its weights."""
    from nima_cli.engine.pretrained.load import inspect
    from nima_cli.engine.pretrained.registry import known_model

    found, known = inspect(ref.path), known_model(ref.name or "")
    name, listed = ref.name or found.name, _of_the_list(known) if known is not None else {}
    return {
        "name": name,
        "path": str(found.path),
        "format": found.format,
        "layout": found.layout,
        "parameters": found.shape.parameters(),
        "stored_types": dict(found.stored_types),
        "file_bytes": found.file_bytes,
        "loading_bytes": found.memory_bytes,
        "tokenizer": {"kind": found.tokenizer.kind, "tokens": found.tokenizer.size},
        "chat_template": _chat_template(found.tokenizer_proto),
        **listed,
        "licence": found.licence or listed.get("licence"),
        "shape": found.shape.to_dict(),
        "training": list(_training(found.shape, name)),
    }


def checkpoint_facts(path: Path) -> dict[str, Any]:
    """What the header of a checkpoint of nima says."""
    from nima_cli.engine.checkpoint.files import find
    from nima_cli.engine.checkpoint.header import read_header
    from nima_cli.engine.model.shape import ModelShape
    from nima_cli.errors import CheckpointError

    file = find(path)
    header = read_header(file)
    try:
        shape = ModelShape.from_dict(header.get("model_shape", {}))
    except ValueError as error:
        raise CheckpointError(f"{file}: unusable: {error}") from error
    pretrained = header.get("config", {}).get("model", {}).get("pretrained")
    return {
        "name": path.name,
        "path": str(file),
        "format": "nima",
        "pretrained": pretrained,
        "parameters": shape.parameters(),
        "file_bytes": file.stat().st_size,
        **{key: header[key] for key in ("step", "tokens", "best") if key in header},
        "shape": shape.to_dict(),
        "training": list(_training(shape, pretrained)),
    }


def _chat_template(tokenizer: bytes) -> str | None:
    """The template in a bundle of tokenizer files: in one of its own, or among the settings, as one or as several."""
    files = json.loads(tokenizer)["files"]
    settings = json.loads(files.get("tokenizer_config.json", "{}"))
    found = files.get("chat_template.jinja") or (settings.get("chat_template") if isinstance(settings, dict) else None)
    if isinstance(found, list):
        named = {str(one.get("name")): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _of_the_list(known: "KnownModel") -> dict[str, Any]:
    return {
        "kind": known.kind,
        "licence": known.licence,
        "source": str(known.source),
        "download_bytes": known.bytes,
        "tested": known.tested,
    }


def _training(shape: "ModelShape", pretrained: str | None) -> Iterator[Mapping[str, Any]]:
    """What each way to train it takes on this machine with defaults: LoRA is for models that others trained."""
    from nima_cli.cli.home import compiled
    from nima_cli.config.schema import Config, ModelConfig
    from nima_cli.engine.training.planning.estimate import estimate

    sizes = {key: value for key, value in shape.to_dict().items() if key in ModelConfig.model_fields}
    model = {"preset": None, "pretrained": pretrained, **sizes}
    for way, training in _WAYS.items():
        if way == "lora" and pretrained is None:
            continue
        config = Config.model_validate({"model": model, "training": training})
        found = estimate(config, None, vocab_size=shape.vocab_size, compiled=compiled())
        yield {
            "way": way,
            "device": found.device,
            "dtype": found.dtype,
            "memory_bytes": found.fit.needed.peak,
            "memory_available_bytes": found.fit.available,
            "sequences": found.fit.sequences,
            "sequence_length": found.spec.plan.context_length,
            "fits": found.fit.fits,
            "pieces": found.fit.micro_batches or 0,
            "checkpoint_bytes": found.disk_bytes // (config.training.save_total_limit + 2),
        }
