"""The library under the commands: data, model, training, inference. It prints nothing.

The names below are imported when they are first used, so that preparing data never waits for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nima_cli.engine.checkpoint.file import load_for_inference
    from nima_cli.engine.data.data_source import DataSource
    from nima_cli.engine.data.prepare import prepare
    from nima_cli.engine.data.store.dataset import open_dataset
    from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
    from nima_cli.engine.device import pick_device
    from nima_cli.engine.export.run import export_checkpoint
    from nima_cli.engine.inference.sampling import SamplingParams
    from nima_cli.engine.inference.text import TextGenerator
    from nima_cli.engine.model.gpt import GPT
    from nima_cli.engine.training.evaluator import evaluate
    from nima_cli.engine.training.run_spec import make_run_spec
    from nima_cli.engine.training.trainer import Trainer

_HOMES = {
    "DataSource": "data.data_source",
    "GPT": "model.gpt",
    "SamplingParams": "inference.sampling",
    "TextGenerator": "inference.text",
    "Tokenizer": "data.tokenizer.tokenizer",
    "Trainer": "training.trainer",
    "evaluate": "training.evaluator",
    "export_checkpoint": "export.run",
    "load_for_inference": "checkpoint.file",
    "make_run_spec": "training.run_spec",
    "open_dataset": "data.store.dataset",
    "pick_device": "device",
    "prepare": "data.prepare",
}
__all__ = [  # noqa: RUF022
    "DataSource",
    "GPT",
    "SamplingParams",
    "TextGenerator",
    "Tokenizer",
    "Trainer",
    "evaluate",
    "export_checkpoint",
    "load_for_inference",
    "make_run_spec",
    "open_dataset",
    "pick_device",
    "prepare",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
