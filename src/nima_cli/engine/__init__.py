"""The library under the commands: data, model, training, inference. It prints nothing.

The names below are imported when they are first used, so that preparing data never waits for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nima_cli.engine.checkpoint.file import Checkpoint, load_for_inference
    from nima_cli.engine.checkpoint.file import save as save_checkpoint
    from nima_cli.engine.data.data_source import DataSource
    from nima_cli.engine.data.prepare import prepare
    from nima_cli.engine.data.store.dataset import open_dataset
    from nima_cli.engine.data.tokenizer.load import load_tokenizer
    from nima_cli.engine.data.tokenizer.protocol import Tokenizer
    from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
    from nima_cli.engine.device import pick_device
    from nima_cli.engine.export.run import export_checkpoint
    from nima_cli.engine.inference.sampling import SamplingParams
    from nima_cli.engine.inference.text import TextGenerator
    from nima_cli.engine.model.gpt import GPT
    from nima_cli.engine.model.shape import ModelShape
    from nima_cli.engine.pretrained.load import load_pretrained
    from nima_cli.engine.training.evaluator import evaluate
    from nima_cli.engine.training.loss import linear_cross_entropy
    from nima_cli.engine.training.optim import Optimizer
    from nima_cli.engine.training.run_spec import make_run_spec
    from nima_cli.engine.training.trainer import Trainer

_HOMES = {
    "Checkpoint": "checkpoint.file:Checkpoint",
    "DataSource": "data.data_source:DataSource",
    "GPT": "model.gpt:GPT",
    "ModelShape": "model.shape:ModelShape",
    "Optimizer": "training.optim:Optimizer",
    "SamplingParams": "inference.sampling:SamplingParams",
    "TextGenerator": "inference.text:TextGenerator",
    "SentencePieceTokenizer": "data.tokenizer.tokenizer:SentencePieceTokenizer",
    "Tokenizer": "data.tokenizer.protocol:Tokenizer",
    "Trainer": "training.trainer:Trainer",
    "evaluate": "training.evaluator:evaluate",
    "export_checkpoint": "export.run:export_checkpoint",
    "linear_cross_entropy": "training.loss:linear_cross_entropy",
    "load_for_inference": "checkpoint.file:load_for_inference",
    "load_pretrained": "pretrained.load:load_pretrained",
    "load_tokenizer": "data.tokenizer.load:load_tokenizer",
    "make_run_spec": "training.run_spec:make_run_spec",
    "open_dataset": "data.store.dataset:open_dataset",
    "pick_device": "device:pick_device",
    "prepare": "data.prepare:prepare",
    "save_checkpoint": "checkpoint.file:save",
}
__all__ = [
    "GPT",
    "Checkpoint",
    "DataSource",
    "ModelShape",
    "Optimizer",
    "SamplingParams",
    "SentencePieceTokenizer",
    "TextGenerator",
    "Tokenizer",
    "Trainer",
    "evaluate",
    "export_checkpoint",
    "linear_cross_entropy",
    "load_for_inference",
    "load_pretrained",
    "load_tokenizer",
    "make_run_spec",
    "open_dataset",
    "pick_device",
    "prepare",
    "save_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)
