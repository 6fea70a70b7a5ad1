"""Whether a run fits into memory, and the nearest settings that do: computed before anything is built."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from nima_cli.config.schema import PRESETS, Config
from nima_cli.engine.device import Device
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.shape import ModelShape, resolve
from nima_cli.engine.training.planning.costs import Means, Memory, memory
from nima_cli.engine.training.planning.memory import describe_pieces
from nima_cli.engine.training.planning.plan import RunPlan
from nima_cli.errors import ResourceError
from nima_cli.events import Note

# An estimate that is so far above what there is cannot be right and the run fit all the same.
_CERTAIN = 1.3
_SHORTEST_CONTEXT = 64  # tokens; a shorter one is no wish of anybody who plans for a longer one

Settings = dict[str, int | str]


@dataclass(frozen=True, slots=True)
class Fit:
    """What a run needs where it computes, beside what there is.

    Attributes:
        needed: with a whole micro-batch at once.
        available: to each process; None where the machine does not say.
        rows: of a process in each micro-batch.
        pieces: the fewest pieces, by powers of two, in which a process's micro-batch fits; None if none do.
        smallest: needed with one row at a time.
        settings: keys and values that fit, nearest to those of the run first tried; empty where it fits, or none do.
    """

    needed: Memory
    available: int | None
    rows: int
    pieces: int | None
    smallest: int
    settings: Settings

    @property
    def fits(self) -> bool:
        """Whether it does with whole micro-batches."""
        return self.pieces == 1

    def is_hopeless(self, *, in_pieces: bool) -> bool:
        """Whether it certainly does not fit, not even in pieces of one row where these are allowed."""
        needed = self.smallest if in_pieces else self.needed.peak
        return self.available is not None and needed > _CERTAIN * self.available

    def describe(self) -> str:
        """Needed and available, in one clause."""
        there = f"{gigabytes(self.available)} available" if self.available is not None else "unknown how much there is"
        return f"about {gigabytes(self.needed.peak)} of memory needed, {there}"


def means_of(device: Device, kernels: Kernels | None, *, processes: int = 1) -> Means:
    """How a device computes with these kernels, as far as that costs memory."""
    return Means(
        processor=device.device.type,
        bytes_per_number=torch.finfo(device.dtype).bits // 8,
        kernels=kernels is not None,
        int8=kernels is not None and kernels.int8,
        processes=processes,
    )


def fit(config: Config, shape: ModelShape, means: Means, available: int | None) -> Fit:
    """Compare a run with what there is.

    Args:
        config: filled in by the recipe.
        available: bytes for each process, with what it holds already.
    """
    rows = _share(config, means)
    pieces = next((parts for parts in _halvings(rows) if _fits(shape, config, means, -(-rows // parts), available)), 0)
    return Fit(
        needed=memory(shape, config, means, rows=rows),
        available=available,
        rows=rows,
        pieces=pieces or None,
        smallest=memory(shape, config, means, rows=1).peak,
        settings=_fitting_settings(config, shape, means, available) if pieces != 1 else {},
    )


def check_fit(found: Fit, config: Config) -> None:
    """Refuse a run that certainly does not fit.

    Raises:
        ResourceError: it does not; says which settings do.
    """
    in_pieces = config.training.auto_batch
    if not config.hardware.check_memory or not found.is_hopeless(in_pieces=in_pieces):
        return
    assert found.available is not None
    ways = [describe_settings(found.settings)] if found.settings else ["use a smaller model"]
    if not in_pieces and found.pieces:
        ways.append("`training.auto_batch: true` computes the same in smaller pieces")
    raise ResourceError(
        f"this run needs about {gigabytes(found.needed.peak)} of memory ({gigabytes(found.smallest)} with one row at a "
        f"time), and {gigabytes(found.available)} are available",
        hint=f"{'; '.join(ways)}; `hardware.check_memory: false` tries it all the same",
    )


def first_parts(found: Fit, config: Config) -> int:
    """Pieces to compute each micro-batch in from the first step on."""
    if found.fits or not (config.training.auto_batch and config.hardware.check_memory):
        return 1
    return found.pieces or list(_halvings(found.rows))[-1]


def fit_notes(found: Fit, config: Config, plan: RunPlan, *, processes: int) -> Iterator[Note]:
    """What a user should know before the first step: the length of the run, what it needs, and what follows."""
    yield Note(
        "info",
        f"{plan.total_steps:,} steps of {plan.tokens_per_step:,} tokens; {found.describe()}; "
        "how long it takes is known once some are done",
    )
    if found.fits:
        return
    parts = first_parts(found, config)
    if parts > 1:
        yield Note("warning", f"not enough memory: {describe_pieces(plan, processes, parts)}")
    if found.pieces is None or parts == 1:
        settings = f"; {describe_settings(found.settings)}" if found.settings else ""
        yield Note("warning", f"memory may run out{settings}")


def describe_settings(settings: Settings) -> str:
    """Settings that fit, as a hint."""
    named = ", ".join(f"`{key}: {value}`" for key, value in settings.items())
    same = " and learns the same" if set(settings) == {_BATCH, _ACCUMULATION} else ""
    return f"what fits{same}: {named}"


def gigabytes(number: int) -> str:
    """Bytes as people compare memory: `26.9 GB`."""
    return f"{number / 1e9:.1f} GB"


_BATCH, _ACCUMULATION = "training.batch_size", "training.gradient_accumulation_steps"


def _share(config: Config, means: Means) -> int:
    assert config.training.batch_size is not None
    return max(1, config.training.batch_size // means.processes)


def _halvings(rows: int) -> Iterator[int]:
    """1, 2, 4 and so on, up to pieces of one row: as a step takes them when memory runs out."""
    parts = 1
    while True:
        yield parts
        if parts >= rows:
            return
        parts *= 2


def _fits(shape: ModelShape, config: Config, means: Means, rows: int, available: int | None) -> bool:
    return available is None or memory(shape, config, means, rows=rows).peak <= available


def _fitting_settings(config: Config, shape: ModelShape, means: Means, available: int | None) -> Settings:
    for changed in _candidates(config, shape, means):
        other = _with(config, changed)
        other_shape = resolve(other.model, shape.vocab_size)
        if _fits(other_shape, other, means, _share(other, means), available):
            return changed
    return {}


def _candidates(config: Config, shape: ModelShape, means: Means) -> Iterator[Settings]:
    """Other settings with as many tokens in a step: smaller micro-batches, shorter contexts, smaller presets."""
    training = config.training
    assert training.batch_size is not None
    rows = training.batch_size * training.gradient_accumulation_steps
    yield from _batches(rows, training.batch_size - 1, means)
    context = shape.context_length // 2
    while context >= _SHORTEST_CONTEXT:
        shorter = rows * (shape.context_length // context)
        yield {"model.context_length": context, _BATCH: means.processes, _ACCUMULATION: shorter // means.processes}
        context //= 2
    names = list(PRESETS)
    if config.model.preset is None or not _is_preset(config, config.model.preset):
        return
    for name in reversed(names[: names.index(config.model.preset)]):
        tokens = rows * shape.context_length // PRESETS[name]["model"]["context_length"]
        for pair in _batches(tokens, tokens, means):
            yield {"model.preset": name, **pair}


def _batches(rows: int, most: int, means: Means) -> Iterator[Settings]:
    """Pairs of batch size and accumulation for so many rows in a step, from the largest batch down."""
    for batch in range(min(most, rows), 0, -1):
        if rows % batch == 0 and batch % means.processes == 0:
            yield {_BATCH: batch, _ACCUMULATION: rows // batch}


def _is_preset(config: Config, name: str) -> bool:
    """Whether the model is the preset's, so that naming another changes it."""
    sizes = PRESETS[name]["model"]
    return all(getattr(config.model, key) == value for key, value in sizes.items())


def _with(config: Config, changed: Settings) -> Config:
    """The config with other values of some keys; another preset brings its sizes."""
    values: dict[str, Any] = config.model_dump()
    for key, value in changed.items():
        section, name = key.split(".")
        values[section][name] = value
        if key == "model.preset":
            values[section].update(PRESETS[str(value)]["model"])
    return Config.model_validate(values)
