"""The shape and the tokenizer that a run, or the data prepared for it, takes from a checkpoint."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nima_cli.cli.home import home

if TYPE_CHECKING:
    from nima_cli.config.schema import Config
    from nima_cli.engine.checkpoint.file import Checkpoint


def foundation(checkpoint: "Checkpoint") -> dict[str, Any]:
    """The checkpoint's shape and its preset's training settings, which the user's override."""
    from nima_cli.config.schema import PRESETS, ModelConfig

    sizes = {key: value for key, value in checkpoint.shape.to_dict().items() if key in ModelConfig.model_fields}
    preset = checkpoint.header.get("config", {}).get("model", {}).get("preset")
    return {**PRESETS.get(preset, {}), "model": {"preset": preset if preset in PRESETS else None, **sizes}}


def with_tokenizer(config: "Config", checkpoint: "Checkpoint") -> "Config":
    """The settings with the checkpoint's tokenizer for sources to prepare, unless they name another."""
    if not config.data.sources or config.data.tokenizer_from is not None:
        return config
    data = config.data.model_copy(update={"tokenizer_from": str(_kept(checkpoint)), "vocab_size": None})
    return config.model_copy(update={"data": data})


def tokenizer_path(named: Path) -> str:
    """A path for `data.tokenizer_from`: `named` itself, or a copy of the tokenizer in a checkpoint."""
    from nima_cli.engine.checkpoint.files import checkpoint_files

    if not (checkpoint_files(named) if named.is_dir() else named.suffix == ".pt"):
        return str(named)
    from nima_cli.engine.checkpoint import file as checkpoints
    from nima_cli.engine.checkpoint.files import find

    return str(_kept(checkpoints.load(find(named), tensors=False)))


def _kept(checkpoint: "Checkpoint") -> Path:
    """Keep a checkpoint's tokenizer as a file in nima's home folder, named after its hash."""
    from nima_cli.files import atomic_write, make_folder

    proto = checkpoint.tokenizer_proto
    path = home() / "tokenizers" / f"{hashlib.sha256(proto).hexdigest()[:16]}.model"
    if not path.exists():
        make_folder(path.parent)
        with atomic_write(path) as stream:
            stream.write(proto)
    return path
