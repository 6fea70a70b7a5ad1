"""The library under the commands: data, model, training, inference; prints nothing and knows no terminal.

The names below are imported when they are first used, so that preparing data never waits for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nima_cli.engine.checkpoint import load_for_inference as load_for_inference
    from nima_cli.engine.data.data_source import DataSource as DataSource
    from nima_cli.engine.data.dataset import open_dataset as open_dataset
    from nima_cli.engine.data.prepare import prepare as prepare
    from nima_cli.engine.data.tokenizer import Tokenizer as Tokenizer
    from nima_cli.engine.device import pick_device as pick_device
    from nima_cli.engine.export.run import export_checkpoint as export_checkpoint
    from nima_cli.engine.inference.sampling import Sampling as Sampling
    from nima_cli.engine.inference.text import TextGenerator as TextGenerator
    from nima_cli.engine.model.gpt import GPT as GPT
    from nima_cli.engine.training.evaluator import evaluate as evaluate
    from nima_cli.engine.training.trainer import Trainer as Trainer

_HOMES = {
    "DataSource": "data.data_source",
    "GPT": "model.gpt",
    "Sampling": "inference.sampling",
    "TextGenerator": "inference.text",
    "Tokenizer": "data.tokenizer",
    "Trainer": "training.trainer",
    "evaluate": "training.evaluator",
    "export_checkpoint": "export.run",
    "load_for_inference": "checkpoint",
    "open_dataset": "data.dataset",
    "pick_device": "device",
    "prepare": "data.prepare",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
