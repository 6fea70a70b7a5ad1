"""One evaluation of one split: the figures, and whatever else was asked for; prints nothing.

Axis letters: P places in the token file
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

import numpy as np

from nima_cli.engine.data.store.dataset import PreparedDataset
from nima_cli.engine.evaluation.answers import Answers, ask
from nima_cli.engine.evaluation.baselines import Baseline, measure_baselines
from nima_cli.engine.evaluation.continuations import Writing, write_on
from nima_cli.engine.evaluation.groups import find_groups
from nima_cli.engine.evaluation.scoring import score
from nima_cli.engine.inference.decode_backend import DecodeBackend
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.evaluator import Metrics
from nima_cli.errors import InputError
from nima_cli.events import Progress


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to find out besides the figures of a whole split.

    Attributes:
        by: dimensions to break the figures down by: source, kind.
        samples: documents to continue; `questions`: questions to ask.
        seed: of the texts.
    """

    by: tuple[str, ...] = ()
    baselines: bool = False
    samples: int = 0
    questions: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found; `by` has the figures of each name of each dimension, which add up to `total`."""

    total: Metrics
    by: Mapping[str, Mapping[str, Metrics]] = field(default_factory=dict)
    baselines: tuple[Baseline, ...] = ()
    writing: Writing | None = None
    answers: Answers | None = None


def evaluate_split(
    model: GPT, dataset: PreparedDataset, split: str, wanted: Wanted, backend: DecodeBackend | None = None
) -> Generator[Progress, None, Evaluation]:
    """Evaluate `model` on a split of the dataset whose tokenizer it has; it writes with `backend`, or with torch.

    Raises:
        InputError: baselines on the split that they learn from.
        DataError: no such split, or nothing in it to continue or to ask.
        DivergedError: the model's predictions are not finite numbers.
    """
    if wanted.baselines and split == "train":
        raise InputError("`--baselines`: they learn from the train split", hint="measure `--split test` or `val`")
    tokenizer, arrays = dataset.tokenizer, dataset.arrays(split)
    sources = tuple(str(source["name"]) for source in dataset.metadata["sources"])
    groups = yield from find_groups(arrays, tokenizer, sources, kinds="kind" in wanted.by)
    tally = yield from score(model, dataset.split(split), groups, tokenizer.byte_lengths().astype(np.int32))
    baselines: list[Baseline] = []
    if wanted.baselines:
        baselines = yield from measure_baselines(dataset.arrays("train"), arrays, groups, tokenizer)
    generator = TextGenerator(model, tokenizer, backend)
    writing = answers = None
    if wanted.samples:
        writing = yield from write_on(
            generator, arrays, dataset.arrays("train"), count=wanted.samples, seed=wanted.seed
        )
    if wanted.questions:
        answers = yield from ask(generator, arrays, count=wanted.questions)
    by = {dimension: groups.rows(dimension, tally) for dimension in wanted.by}
    return Evaluation(tally.total(), by, tuple(baselines), writing, answers)
