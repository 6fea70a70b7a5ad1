"""Whether a run fits into memory, and the nearest settings that do: computed before anything is built."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch

from nima_cli.config.schema import PRESETS, Config
from nima_cli.engine.device import Device
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.machine_memory import available_memory
from nima_cli.engine.model.shape import ModelShape, resolve
from nima_cli.engine.training.planning.costs import Means, Memory, memory
from nima_cli.engine.training.planning.out_of_memory import describe_micro_batches
from nima_cli.engine.training.run_spec import RunPlan
from nima_cli.errors import ResourceError
from nima_cli.events import Note

_CERTAIN = 1.3  # an estimate so far above what is available cannot be wrong enough for the run to fit
_SHORTEST_CONTEXT = 64  # tokens; nobody who plans for a longer one wants less
_BATCH, _ACCUMULATION = "training.batch_size", "training.gradient_accumulation_steps"
_LORA, _LENGTH, _CONTEXT = "training.lora.enabled", "training.sequence_length", "model.context_length"
_RECOMPUTE = "training.recompute"
_KINDS = {"off": (False,), "on": (True,), "auto": (False, True)}  # whether layers are computed twice
# How long a step takes if they are; and what each micro-batch costs besides, in the time of so many tokens. A GPU wants
# larger ones.
_TWICE, _CPU_TOKENS, _GPU_TOKENS = 4 / 3, 64, 1024

Settings = dict[str, int | str]


@dataclass(frozen=True, slots=True)
class Fit:
    """What each process of a run needs on its device, beside what is available (None: the machine does not say).

    Attributes:
        needed: with a whole batch at once.
        recompute: whether layers are computed twice.
        sequences: of a process in each batch.
        micro_batches: the fewest, by powers of two, that fit; None where not even one sequence at a time does.
        smallest: bytes needed with one sequence at a time.
        settings: the nearest keys and values that fit; empty where the run fits, or none do.
    """

    needed: Memory
    available: int | None
    sequences: int
    micro_batches: int | None
    smallest: int
    settings: Settings
    recompute: bool = False

    @property
    def fits(self) -> bool:
        """Whether whole batches fit."""
        return self.micro_batches == 1


def means_of(device: Device, kernels: Kernels | None, *, processes: int = 1) -> Means:
    """The memory-relevant facts of a device and its kernels."""
    int8 = kernels is not None and kernels.int8
    return Means(device.device.type, torch.finfo(device.dtype).bits // 8, kernels is not None, int8, processes)


def fit(config: Config, shape: ModelShape, means: Means, available: int | None) -> Fit:
    """Compare a run of a complete config with the bytes available to each process, with what it holds already."""

    def fits(config: Config, shape: ModelShape, sequences: int, recompute: bool) -> bool:
        found = memory(shape, config, means, sequences=sequences, recompute=recompute)
        return available is None or found.peak <= available

    def nearest() -> Settings:
        for recompute, changed in product((False, True), _candidates(config, shape, means)):
            other = _with(config, changed)
            sizes = _sequence_shape(other, shape.vocab_size), _share(other, means)
            if recompute in _KINDS[other.training.recompute] and fits(other, *sizes, recompute):
                return changed
        return {}

    sequences, last = _share(config, means), _KINDS[config.training.recompute][-1]
    ways = (
        way for way in _ways(config, shape, means, sequences) if fits(config, shape, -(-sequences // way[0]), way[1])
    )
    micro_batches, recompute = next(ways, (None, last))
    return Fit(
        needed=memory(shape, config, means, sequences=sequences, recompute=recompute),
        available=available,
        sequences=sequences,
        micro_batches=micro_batches,
        smallest=memory(shape, config, means, sequences=1, recompute=last).peak,
        settings=nearest() if micro_batches != 1 else {},
        recompute=recompute,
    )


def _ways(config: Config, shape: ModelShape, means: Means, sequences: int) -> list[tuple[int, bool]]:
    """Numbers of micro-batches and whether layers are computed twice, the fastest first, of those that are allowed.

    Smaller micro-batches cost less than computing twice until they are very small.
    """
    kinds, overhead = _KINDS[config.training.recompute], _CPU_TOKENS if means.on_cpu else _GPU_TOKENS

    def order(way: tuple[int, bool]) -> tuple[bool, float]:
        micro_batches, recompute = way
        time = (_TWICE if recompute else 1.0) * (1.0 + overhead * micro_batches / (sequences * shape.context_length))
        return micro_batches > 1 and not config.training.auto_batch, time

    return sorted(product(_halvings(sequences), kinds), key=order)


def check_fit(found: Fit, config: Config) -> None:
    """Raise a ResourceError with settings that fit when a run certainly does not."""
    least = found.smallest if config.training.auto_batch else found.needed.peak
    if not config.hardware.check_memory or found.available is None or least <= _CERTAIN * found.available:
        return
    ways = [_describe(found.settings) if found.settings else "use a smaller model"]
    if not config.training.auto_batch and found.micro_batches:
        ways.append("`training.auto_batch: true` computes the same in smaller pieces")
    raise ResourceError(
        f"this run needs about {_gigabytes(found.needed.peak)} of memory ({_gigabytes(found.smallest)} with one row at "
        f"a time), and {_gigabytes(found.available)} are available",
        hint=f"{'; '.join(ways)}; `hardware.check_memory: false` tries it all the same",
    )


def check_fit_unread(config: Config, shape: ModelShape, device: Device) -> None:
    """As `check_fit`, before the weights of another model are read: by the least that a run on the CPU can need."""
    if device.device.type == "cpu":
        least = Means("cpu", torch.finfo(device.dtype).bits // 8, kernels=True)
        check_fit(fit(config, shape, least, available_memory(device.device)), config)


def first_micro_batches(found: Fit, config: Config) -> int:
    """Micro-batches to compute each batch in from the first step on."""
    if found.fits or not (config.training.auto_batch and config.hardware.check_memory):
        return 1
    return found.micro_batches or _halvings(found.sequences)[-1]


def fit_notes(found: Fit, config: Config, plan: RunPlan, *, processes: int) -> Iterator[Note]:
    """Tell the length of the run, the memory that it needs, and what follows from that."""
    available = "unknown how much there is" if found.available is None else f"{_gigabytes(found.available)} available"
    yield Note(
        "info",
        f"{plan.total_steps:,} steps of {plan.tokens_per_step:,} tokens; about {_gigabytes(found.needed.peak)} of "
        f"memory needed, {available}; how long it takes is known once some are done",
    )
    if found.recompute:
        why = "" if config.training.recompute == "on" else "not enough memory to keep what they compute: "
        yield Note("info", f"{why}the layers are computed twice, which takes a third longer; the learning is the same")
    if found.fits:
        return
    micro_batches = first_micro_batches(found, config)
    if micro_batches > 1:
        yield Note("warning", f"not enough memory: {describe_micro_batches(plan, processes, micro_batches)}")
    if found.micro_batches is None or micro_batches == 1:
        yield Note("warning", f"memory may run out{f'; {_describe(found.settings)}' if found.settings else ''}")


def setting_text(value: int | str) -> str:
    """A value as YAML and the command line spell it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _describe(settings: Settings) -> str:
    named = ", ".join(f"`{key}: {setting_text(value)}`" for key, value in settings.items())
    same = " and learns the same" if set(settings) <= {_BATCH, _ACCUMULATION, _RECOMPUTE} else ""
    return f"what fits{same}: {named}"


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB"


def _share(config: Config, means: Means) -> int:
    """Sequences of a process in each batch."""
    assert config.training.batch_size is not None
    return max(1, config.training.batch_size // means.processes)


def _halvings(sequences: int) -> list[int]:
    """1, 2, 4 and so on, up to one sequence at a time, as `TrainStep` halves its micro-batches."""
    return [2**power for power in range((sequences - 1).bit_length() + 1)]


def _candidates(config: Config, shape: ModelShape, means: Means) -> Iterator[Settings]:
    """Other settings with as many tokens in a step: smaller batches, layers twice, adapters, shorter sequences."""
    training, preset, pretrained = config.training, config.model.preset, config.model.pretrained is not None
    assert training.batch_size is not None
    sequences = training.batch_size * training.gradient_accumulation_steps
    yield from _batches(sequences, training.batch_size - 1, means)
    if training.recompute == "off":
        yield {_RECOMPUTE: "auto"}
    if pretrained and not training.lora.enabled:
        for pair in _batches(sequences, training.batch_size, means):
            yield {_LORA: True, **pair}
    context = shape.context_length // 2
    while context >= _SHORTEST_CONTEXT:
        count = sequences * (shape.context_length // context) // means.processes
        # The context of a model that others trained is its own.
        yield {_LENGTH if pretrained else _CONTEXT: context, _BATCH: means.processes, _ACCUMULATION: count}
        context //= 2
    if preset is None or any(getattr(config.model, key) != size for key, size in PRESETS[preset]["model"].items()):
        return  # sizes given by hand would stay whatever preset is named
    names = list(PRESETS)
    for name in reversed(names[: names.index(preset)]):
        count = sequences * shape.context_length // PRESETS[name]["model"]["context_length"]
        for pair in _batches(count, count, means):
            yield {"model.preset": name, **pair}


def _batches(sequences: int, most: int, means: Means) -> Iterator[Settings]:
    """Pairs of batch size and accumulation for so many sequences in a step, from the largest batch down."""
    for batch in range(min(most, sequences), 0, -1):
        if sequences % batch == 0 and batch % means.processes == 0:
            yield {_BATCH: batch, _ACCUMULATION: sequences // batch}


def _with(config: Config, changed: Settings) -> Config:
    """The config with other values of some keys; another preset brings its sizes."""
    values: dict[str, Any] = config.model_dump()
    for key, value in changed.items():
        *sections, name = key.split(".")
        section = values
        for part in sections:
            section = section[part]
        section[name] = value
        if key == "model.preset":
            section.update(PRESETS[str(value)]["model"])
    return Config.model_validate(values)


def _sequence_shape(config: Config, vocab_size: int) -> ModelShape:
    """The shape of a config's model, with the length of its sequences as context."""
    shape = resolve(config.model, vocab_size)
    return replace(shape, context_length=min(shape.context_length, config.training.sequence_length or 1 << 30))
