"""Evaluates a model on a split."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nima_cli.engine.data.store.dataset import PreparedDataset, TokenDataset
from nima_cli.engine.evaluation.answers import Answers, ask
from nima_cli.engine.evaluation.baselines import Baseline, measure_baselines
from nima_cli.engine.evaluation.continuations import Continuations, continue_documents
from nima_cli.engine.evaluation.groups import Groups, MetricSums, find_groups
from nima_cli.engine.inference.generator import DecodeBackend
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.evaluator import Metrics
from nima_cli.engine.training.loss import IGNORE, losses_and_correct
from nima_cli.errors import DivergedError, InputError
from nima_cli.events import Progress


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result; `by` is dimension -> name -> figures, which add up to `total`."""

    total: Metrics
    by: Mapping[str, Mapping[str, Metrics]]
    baselines: tuple[Baseline, ...]
    continuations: Continuations | None
    answers: Answers | None


def evaluate_split(
    model: GPT,
    dataset: PreparedDataset,
    split: str,
    *,
    by: Sequence[str] = (),
    baselines: bool = False,
    samples: int = 0,
    questions: int = 0,
    seed: int = 0,
    backend: DecodeBackend | None = None,
    context_length: int | None = None,
) -> Generator[Progress, None, Evaluation]:
    """Evaluate `model` on a split of the dataset whose tokenizer it has.

    Args:
        by: dimensions of the breakdown: source, kind.
        baselines: measure simple predictors as well.
        samples: documents to continue, drawn with `seed`.
        questions: questions to ask.
        backend: what decodes; None is torch.
        context_length: tokens of a window; by default the model's whole context.

    Raises:
        InputError: baselines on the split that they learn from.
        DataError: there is no such split, or nothing in it to continue or to ask.
        DivergedError: the model's predictions are not finite numbers.
    """
    if baselines and split == "train":
        raise InputError("`baselines=True`: they learn from the train split", hint="measure `split=test` or `val`")
    tokenizer, arrays = dataset.tokenizer, dataset.arrays(split)
    sources = tuple(str(source["name"]) for source in dataset.metadata["sources"])
    groups = yield from find_groups(arrays, tokenizer, sources, kinds="kind" in by)
    bytes_V, context = tokenizer.byte_lengths().astype(np.int32), context_length or model.shape.context_length
    sums = yield from score(model, dataset.split(split), groups, bytes_V, context)
    measured: list[Baseline] = []
    if baselines:
        measured = yield from measure_baselines(dataset.arrays("train"), arrays, groups, tokenizer)
    generator = TextGenerator(model, tokenizer, backend)
    continuations = answers = None
    if samples:
        train = dataset.arrays("train")
        continuations = yield from continue_documents(generator, arrays, train, count=samples, seed=seed)
    if questions:
        answers = yield from ask(generator, arrays, count=questions)
    rows = {dimension: sums.rows(dimension) for dimension in by}
    return Evaluation(sums.total(), rows, tuple(measured), continuations, answers)


@torch.no_grad()
def score(
    model: GPT,
    split: TokenDataset,
    groups: Groups,
    bytes_V: npt.NDArray[np.int32],
    context: int,
    *,
    batch_tokens: int = 8192,
) -> Generator[Progress, None, MetricSums]:
    """Score every token of the split once, in windows of `context`; raises DivergedError if a loss is not finite."""
    windows, size = split.windows(context), max(1, batch_tokens // context)
    device = model.embed_tokens.weight.device
    sums = MetricSums(groups)
    model.eval()
    for start in range(0, windows, size):
        yield Progress("evaluating", start, windows, "windows")
        numbers = np.arange(start, min(start + size, windows))
        batch = split.window_batch(numbers.tolist(), context)
        targets_N = batch.targets_BT.flatten()
        h_BTC = model.hidden(batch.inputs_BT.to(device))
        loss_N, correct_N = _losses(h_BTC.flatten(0, 1), model.head_weight_VC, targets_N.to(device))
        valid_N = (targets_N != IGNORE).numpy()
        places_N = (numbers[:, None] * context + np.arange(1, context + 1)).ravel()[valid_N]
        bytes_N = bytes_V[targets_N.numpy()[valid_N]]
        sums.add(groups.codes_P[places_N], loss_N.cpu().numpy()[valid_N], bytes_N, correct_N.cpu().numpy()[valid_N])
    return sums


def _losses(h_NC: torch.Tensor, head_VC: torch.Tensor, targets_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss in nats [N], zero without a target, and whether the prediction was right [N]."""
    losses, correct = zip(*losses_and_correct(h_NC, head_VC, targets_N), strict=True)
    loss_N = torch.cat(losses)
    if not bool(torch.isfinite(loss_N).all()):
        raise DivergedError("the model's predictions are not finite numbers", hint="use an earlier checkpoint")
    return loss_N, torch.cat(correct)
