"""One evaluation of one split: the figures, and whatever else was asked for."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nima_cli.engine.data.store.dataset import PreparedDataset
from nima_cli.engine.evaluation.answers import Answers, ask
from nima_cli.engine.evaluation.baselines import Baseline, measure_baselines
from nima_cli.engine.evaluation.continuations import Continuations, continue_documents
from nima_cli.engine.evaluation.groups import find_groups
from nima_cli.engine.evaluation.scoring import score
from nima_cli.engine.inference.decode_backend import Stepper
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.evaluator import Metrics
from nima_cli.errors import InputError
from nima_cli.events import Progress


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found; `by` has the figures of each name of each dimension, which add up to `total`."""

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
    stepper: Stepper | None = None,
) -> Generator[Progress, None, Evaluation]:
    """Evaluate `model` on a split of the dataset whose tokenizer it has.

    Args:
        by: dimensions to break the figures down by: source, kind.
        baselines: whether to measure simple predictors as well.
        samples: documents to continue, drawn with `seed`.
        questions: questions to ask.
        stepper: what the model writes with; None is torch.

    Raises:
        InputError: baselines on the split that they learn from.
        DataError: no such split, or nothing in it to continue or to ask.
        DivergedError: the model's predictions are not finite numbers.
    """
    if baselines and split == "train":
        raise InputError("`baselines=True`: they learn from the train split", hint="measure `split=test` or `val`")
    tokenizer, arrays = dataset.tokenizer, dataset.arrays(split)
    sources = tuple(str(source["name"]) for source in dataset.metadata["sources"])
    groups = yield from find_groups(arrays, tokenizer, sources, kinds="kind" in by)
    sums = yield from score(model, dataset.split(split), groups, tokenizer.byte_lengths().astype(np.int32))
    measured: list[Baseline] = []
    if baselines:
        measured = yield from measure_baselines(dataset.arrays("train"), arrays, groups, tokenizer)
    generator = TextGenerator(model, tokenizer, stepper)
    continuations = answers = None
    if samples:
        train = dataset.arrays("train")
        continuations = yield from continue_documents(generator, arrays, train, count=samples, seed=seed)
    if questions:
        answers = yield from ask(generator, arrays, count=questions)
    rows = {dimension: groups.rows(dimension, sums) for dimension in by}
    return Evaluation(sums.total(), rows, tuple(measured), continuations, answers)
