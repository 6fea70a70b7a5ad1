"""What a checkpoint settles for a run that starts from it, or for data that is prepared for it: shape and tokenizer."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nima_cli.config.schema import Config
    from nima_cli.engine.checkpoint.file import Checkpoint


def foundation(checkpoint: "Checkpoint") -> dict[str, Any]:
    """Settings below all that the user gives: the shape of the checkpoint, and what its preset says of training."""
    from nima_cli.config.schema import PRESETS, ModelConfig

    sizes = {key: value for key, value in checkpoint.shape.to_dict().items() if key in ModelConfig.model_fields}
    preset = checkpoint.header.get("config", {}).get("model", {}).get("preset")
    return {**PRESETS.get(preset, {}), "model": {"preset": preset if preset in PRESETS else None, **sizes}}


def with_tokenizer(config: "Config", checkpoint: "Checkpoint") -> "Config":
    """The settings with the checkpoint's tokenizer for data that has yet to be prepared, unless another is named."""
    if not config.data.sources or config.data.tokenizer_from is not None:
        return config
    data = config.data.model_copy(update={"tokenizer_from": str(_kept(checkpoint)), "vocab_size": None})
    return config.model_copy(update={"data": data})


def tokenizer_path(named: Path) -> str:
    """A tokenizer that `data.tokenizer_from` can name: `named` itself, or a copy of the one that a checkpoint holds.

    Raises:
        CheckpointError: `named` is a checkpoint that cannot be used.
        ResourceError: the copy cannot be written.
    """
    from nima_cli.engine.checkpoint.files import checkpoint_files

    is_checkpoint = bool(checkpoint_files(named)) if named.is_dir() else named.suffix == ".pt"
    if not is_checkpoint:
        return str(named)
    from nima_cli.engine.checkpoint import file as checkpoints
    from nima_cli.engine.checkpoint.files import find

    return str(_kept(checkpoints.load(find(named))))


def _kept(checkpoint: "Checkpoint") -> Path:
    """The tokenizer of a checkpoint as a file among nima's own, named by what is in it."""
    from nima_cli.config.environ import home
    from nima_cli.files import atomic_write, make_folder

    proto = checkpoint.tokenizer_proto
    path = home() / "tokenizers" / f"{hashlib.sha256(proto).hexdigest()[:16]}.model"
    if not path.exists():
        make_folder(path.parent)
        with atomic_write(path) as stream:
            stream.write(proto)
    return path
