"""The shape and the tokenizer that a run, or the data prepared for it, takes from another model."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nima_cli.cli.home import home
from nima_cli.cli.references import ModelRef, find_model
from nima_cli.errors import DataError

if TYPE_CHECKING:
    from nima_cli.config.schema import Config
    from nima_cli.engine.checkpoint.file import Checkpoint
    from nima_cli.engine.model.shape import ModelShape


@dataclass(frozen=True, slots=True)
class InitialModel:
    """What a new run starts from, without its weights, which are read when it begins.

    Attributes:
        header: the settings of its own run, if nima has trained it; else the name that it is known by.
    """

    ref: ModelRef
    shape: "ModelShape"
    tokenizer_proto: bytes
    header: dict[str, Any]

    @property
    def pretrained(self) -> str | None:
        """The name of the model that others trained and that it is, or was made from."""
        name = self.header.get("pretrained") or self._model_settings.get("pretrained")
        return str(name) if name is not None else None

    @property
    def preset(self) -> str | None:
        """The preset of its run."""
        return self._model_settings.get("preset")

    @property
    def _model_settings(self) -> dict[str, Any]:
        found: dict[str, Any] = self.header.get("config", {}).get("model", {})
        return found


def read_initial(ref: ModelRef) -> InitialModel:
    """Read all of a model but its weights."""
    from nima_cli.engine.checkpoint.file import load
    from nima_cli.engine.checkpoint.files import find
    from nima_cli.engine.pretrained.load import inspect, is_pretrained

    if is_pretrained(ref.path):
        found = inspect(ref.path)
        return InitialModel(ref, found.shape, found.tokenizer_proto, {"pretrained": ref.name or found.name})
    checkpoint = load(find(ref.path), tensors=False)
    return InitialModel(ref, checkpoint.shape, checkpoint.tokenizer_proto, checkpoint.header)


def foundation(initial: InitialModel) -> dict[str, Any]:
    """The model's shape and its preset's or tuning's training settings, which the user's override."""
    from nima_cli.config.schema import PRESETS, TUNING, ModelConfig

    sizes = {key: value for key, value in initial.shape.to_dict().items() if key in ModelConfig.model_fields}
    preset = initial.preset if initial.preset in PRESETS else None
    model = {"preset": preset, "pretrained": initial.pretrained, **sizes}
    return {**(TUNING if initial.pretrained is not None else PRESETS.get(preset or "", {})), "model": model}


def check_shape(config: "Config", initial: InitialModel) -> None:
    """Refuse settings that ask for another shape than the model's."""
    from nima_cli.engine.model.shape import resolve
    from nima_cli.engine.training.session import check_initial_shape

    check_initial_shape(initial.ref.text, initial.shape, resolve(config.model, initial.shape.vocab_size))


def with_tokenizer(config: "Config", proto: bytes) -> "Config":
    """The settings with this tokenizer for sources to prepare, unless they name another."""
    if not config.data.sources or config.data.tokenizer_from is not None:
        return config
    data = config.data.model_copy(update={"tokenizer_from": str(_kept(proto)), "vocab_size": None})
    return config.model_copy(update={"data": data})


def restore_tokenizer(config: "Config", checkpoint: "Checkpoint") -> None:
    """Keep the tokenizer of a run again, if its settings name the file that was kept and that is gone."""
    if config.data.tokenizer_from == str(_place(checkpoint.tokenizer_proto)):
        _kept(checkpoint.tokenizer_proto)


def tokenizer_path(named: str, *, quiet: bool) -> str:
    """A path for `data.tokenizer_from`: a tokenizer or dataset that `named` is, or a copy of that of a model."""
    from nima_cli.engine.checkpoint.file import load
    from nima_cli.engine.checkpoint.files import checkpoint_files, find
    from nima_cli.engine.pretrained.load import inspect, is_pretrained

    ref = find_model(named, quiet=quiet, what="file or folder")
    if is_pretrained(ref.path):
        return str(_kept(inspect(ref.path).tokenizer_proto))
    if checkpoint_files(ref.path) if ref.path.is_dir() else ref.path.suffix == ".pt":
        return str(_kept(load(find(ref.path), tensors=False).tokenizer_proto))
    return str(ref.path)


def check_tokenizer(data_dir: Path, initial: InitialModel) -> None:
    """Refuse a dataset of another tokenizer than the model's, with the command that prepares it again."""
    from nima_cli.cli.datasets import prepare_again
    from nima_cli.engine.data.store.dataset_files import read_metadata

    metadata = read_metadata(data_dir)
    if metadata["tokenizer"]["sha256"] != hashlib.sha256(initial.tokenizer_proto).hexdigest():
        raise DataError(
            f"{data_dir}: its tokenizer is not the one of {initial.ref.text}",
            hint=f"prepare it again: {prepare_again(data_dir, metadata, initial.ref.text)}",
        )


def _kept(proto: bytes) -> Path:
    """Keep a tokenizer as a file in nima's home folder, named after its hash."""
    from nima_cli.files import atomic_write, make_folder

    path = _place(proto)
    if not path.exists():
        make_folder(path.parent)
        with atomic_write(path) as stream:
            stream.write(proto)
    return path


def _place(proto: bytes) -> Path:

    return home() / "tokenizers" / f"{hashlib.sha256(proto).hexdigest()[:16]}.model"
