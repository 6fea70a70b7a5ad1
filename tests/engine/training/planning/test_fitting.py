"""What a run needs, whether that is there, and which settings fit: computed, nothing is built."""

from typing import Any

import pytest

from nima_cli.config.load import load_config
from nima_cli.config.schema import Config
from nima_cli.engine.model.shape import ModelShape, resolve
from nima_cli.engine.training.planning.costs import Means, Memory, checkpoint_bytes, memory
from nima_cli.engine.training.planning.defaults import resolve_defaults
from nima_cli.engine.training.planning.fitting import Fit, check_fit, first_micro_batches, fit, fit_notes
from nima_cli.engine.training.run_spec import make_plan
from nima_cli.errors import ResourceError

GB = 10**9
TORCH = Means("cpu", 2)


def planned(preset: str = "gpt-medium", vocab_size: int = 16384, **keys: Any) -> tuple[Config, ModelShape]:
    """A preset's config with other values of some keys, whose dots are written as `__`."""
    named = {key.replace("__", "."): value for key, value in keys.items()}
    config = load_config(None, overrides=named, preset=preset, environ={}).config
    shape = resolve(config.model, vocab_size)
    return resolve_defaults(config, shape, train_tokens=10**6), shape


def needed(rows: int | None = None, means: Means = TORCH, **keys: Any) -> Memory:
    config, shape = planned(**keys)
    assert config.training.batch_size is not None
    return memory(shape, config, means, sequences=rows or config.training.batch_size)


def fitted(available: int | None, means: Means = TORCH, **keys: Any) -> tuple[Fit, Config]:
    config, shape = planned(**keys)
    return fit(config, shape, means, available), config


def test_what_is_held_is_what_a_checkpoint_holds() -> None:
    config, shape = planned(training__ema_decay=0.99)
    assert needed(training__ema_decay=0.99).state == checkpoint_bytes(shape, config)
    assert needed(training__ema_decay=0.99).saving == checkpoint_bytes(shape, config), "it is copied to be written"
    assert needed(means=Means("cuda", 2)).saving == 0, "the copy is the host's"
    assert needed(training__optimizer="adamw").state > needed().state


def test_rows_and_context_cost_what_they_keep() -> None:
    one, four = needed(rows=1), needed(rows=4)
    assert four.step > 2 * one.step > 0
    assert four.state == one.state
    assert needed(rows=1, model__context_length=4096).step > 1.3 * four.step, "as many tokens, more attention"
    assert needed(means=Means("cpu", 4)).step > 1.1 * needed(means=Means("cpu", 4, kernels=True)).step


def test_a_gpu_makes_as_many_logits_at_once_as_128_mib_hold() -> None:
    """Those of 8192 positions with a small vocabulary; with one of 128k they would take 10 GB."""
    gpu = Means("cuda", 2)
    small, large = (needed(preset="gpt-tiny", rows=16, means=gpu, vocab_size=size) for size in (8192, 131072))
    assert small.step > 8192 * 8192 * 10
    assert large.step > 512 * 131072 * 10
    assert large.step - small.step < 10**9
    assert needed(preset="gpt-tiny", rows=1, means=gpu).step < small.step / 2, "512 positions"


def test_what_muon_makes_of_the_largest_group_counts() -> None:
    """The stacked gradients and the update in float32, and one stack in 16 bit."""
    _, shape = planned()
    group = 2 * shape.n_layers * shape.d_ff * shape.d_model
    assert needed().step - needed(training__optimizer="adamw").step == 10 * group


def test_attention_on_mps_keeps_its_scores() -> None:
    on_mps, on_cuda = (needed(rows=4, means=Means(name, 4)) for name in ("mps", "cuda"))
    _, shape = planned()
    scores = 4 * shape.context_length**2 * shape.n_heads * 4
    assert on_mps.step - on_cuda.step >= 2 * scores * shape.n_layers


def test_what_fits_is_left_alone() -> None:
    found, config = fitted(200 * GB)
    assert found.fits
    assert found.settings == {}
    assert first_micro_batches(found, config) == 1
    check_fit(found, config)
    assert fitted(None)[0].fits, "where the machine does not say, nobody is kept from trying"


def test_smaller_micro_batches_come_first_and_keep_the_step() -> None:
    whole, one = needed().peak, needed(rows=1).peak
    found, config = fitted((whole + one) // 2, training__auto_batch=False, training__recompute="off")
    assert not found.fits
    assert set(found.settings) == {"training.batch_size", "training.gradient_accumulation_steps"}
    batch, times = found.settings.values()
    assert (int(batch) * int(times), int(batch) > 1) == (16, True)
    assert needed(rows=int(batch)).peak <= (whole + one) // 2 < needed(rows=2 * int(batch)).peak
    assert first_micro_batches(found, config) == 1, "it was not allowed"


def test_layers_are_computed_twice_only_where_smaller_micro_batches_do_not_suffice() -> None:
    """On a CPU: a micro-batch of one row of 1024 tokens costs less than a third more."""
    whole, one, twice = needed().peak, needed(rows=1).peak, recomputed_peak(rows=1)
    assert twice < one < whole
    found, _ = fitted(one)
    assert (found.micro_batches, found.recompute) == (16, False)
    found, _ = fitted(one - 1)
    assert (found.recompute, found.smallest) == (True, twice)
    assert found.micro_batches is not None
    assert recomputed_peak(rows=16 // found.micro_batches) < one
    assert fitted(twice - 1)[0].micro_batches is None
    assert fitted(one - 1, training__recompute="off")[0].micro_batches is None
    assert fitted(200 * GB)[0].recompute is False
    assert fitted(200 * GB, training__recompute="on")[0].needed.peak == recomputed_peak(rows=16)


def test_of_short_rows_as_many_as_fit_are_computed_twice_before_a_few() -> None:
    keys: dict[str, Any] = {"preset": "gpt-tiny", "model__context_length": 32, "training__batch_size": 512}
    most = recomputed_peak(rows=512, **keys)
    found, _ = fitted(most, **keys)
    few = needed(rows=512 // 64, **keys).peak
    assert few < most, "8 rows, 256 tokens at a time, would fit too"
    assert found.micro_batches is not None
    assert found.recompute or found.micro_batches < 64


def test_without_micro_batches_computing_twice_may_do() -> None:
    whole, twice = needed().peak, recomputed_peak(rows=16)
    found, config = fitted((whole + twice) // 2, training__auto_batch=False)
    assert (found.fits, found.recompute) == (True, True)
    check_fit(found, config)


def test_where_it_was_turned_off_that_is_told() -> None:
    """The largest preset's shortest context, a row at a time: only computing twice is left."""
    keys: dict[str, Any] = {"training__batch_size": 1, "model__context_length": 64, "model__d_ff": 3104}
    available = needed(rows=1, **keys).peak - 1
    assert recomputed_peak(rows=1, **keys) <= available
    assert fitted(available, training__recompute="off", **keys)[0].settings == {"training.recompute": "auto"}


def recomputed_peak(rows: int, **keys: Any) -> int:
    config, shape = planned(**keys)
    return memory(shape, config, TORCH, sequences=rows, recompute=True).peak


def test_then_a_shorter_context_then_a_smaller_preset() -> None:
    least = recomputed_peak(rows=1, preset="gpt-tiny")
    shorter, _ = fitted(least - 1, preset="gpt-tiny", training__batch_size=4)
    assert next(iter(shorter.settings)) == "model.context_length"
    context, batch, times = map(int, shorter.settings.values())
    assert context * batch * times == 4 * 512
    smaller, _ = fitted(int(1.2 * GB))
    assert smaller.settings["model.preset"] == "gpt-tiny"
    rows = int(smaller.settings["training.batch_size"]) * int(smaller.settings["training.gradient_accumulation_steps"])
    assert rows * 512 == 16 * 1024
    assert fitted(int(1.2 * GB), model__d_ff=3104)[0].settings == {}, "the sizes given by hand would stay"
    assert fitted(10**8)[0].settings == {}


def test_a_model_of_others_gets_adapters_and_then_shorter_sequences() -> None:
    """Its context is its own: another one would be another model."""
    own: dict[str, Any] = {
        "preset": "gpt-medium", "model__pretrained": "theirs", "training__auto_batch": False,
        "training__optimizer": "adamw", "training__sequence_length": 1024,
    }  # fmt: skip
    one = needed(rows=1, **own).peak
    adapters, config = fitted(one - 1, **own)
    assert adapters.settings["training.lora.enabled"] is True
    with pytest.raises(ResourceError) as refused:
        check_fit(fitted(one // 2, **own)[0], config)
    assert "`training.lora.enabled: true`" in (refused.value.hint or "")
    least = needed(rows=1, **own, training__lora__enabled=True).peak
    shorter, _ = fitted(least - 1, **own, training__lora__enabled=True)
    assert next(iter(shorter.settings)) == "training.sequence_length"
    assert "model.context_length" not in shorter.settings
    length, batch, times = map(int, shorter.settings.values())
    assert length * batch * times == 16 * 1024


@pytest.mark.parametrize("share", [0.95, 0.4, 0.1])
def test_the_settings_named_do_fit(share: float) -> None:
    available = int(share * needed().peak)
    found, _ = fitted(available)
    keys: dict[str, Any] = {key.replace(".", "__"): value for key, value in found.settings.items()}
    preset = keys.pop("model__preset", "gpt-medium")
    assert fitted(available, preset=str(preset), **keys)[0].fits


def test_processes_share_a_batch() -> None:
    alone, shared = fitted(200 * GB)[0], fitted(200 * GB, Means("cuda", 2, processes=4))[0]
    assert (alone.sequences, shared.sequences) == (16, 4)
    tight, _ = fitted(needed(rows=2, means=Means("cuda", 2)).peak, Means("cuda", 2, processes=4))
    assert int(tight.settings["training.batch_size"]) % 4 == 0


def test_a_run_that_cannot_fit_is_refused_with_what_would() -> None:
    found, config = fitted(int(1.2 * GB))
    with pytest.raises(ResourceError) as refused:
        check_fit(found, config)
    assert refused.value.exit_code == 4
    assert refused.value.message.endswith("and 1.2 GB are available")
    assert "`model.preset: gpt-tiny`, `training.batch_size: " in (refused.value.hint or "")
    assert "`hardware.check_memory: false` tries it all the same" in (refused.value.hint or "")
    found, config = fitted(int(1.2 * GB), hardware__check_memory=False)
    check_fit(found, config)
    assert first_micro_batches(found, config) == 1


def test_without_pieces_the_whole_batch_has_to_fit() -> None:
    available = (needed().peak + needed(rows=1).peak) // 3
    found, config = fitted(available, training__auto_batch=False, training__recompute="off")
    with pytest.raises(ResourceError) as refused:
        check_fit(found, config)
    hint = refused.value.hint or ""
    assert hint.startswith("what fits and learns the same: `training.batch_size: ")
    assert "`training.auto_batch: true` computes the same in smaller pieces" in hint


def notes_of(available: int, **keys: Any) -> list[str]:
    found, config = fitted(available, **keys)
    check_fit(found, config)
    plan = make_plan(config.training, context_length=1024, sequences_per_epoch=1000)
    return [note.message for note in fit_notes(found, config, plan, processes=1)]


def test_a_run_says_what_it_needs_and_what_follows() -> None:
    needs = f"about {needed().peak / 1e9:.1f} GB of memory needed"
    (told,) = notes_of(200 * GB)
    assert needs in told
    assert told.endswith("200.0 GB available; how long it takes is known once some are done")
    told, pieces = notes_of(needed(rows=4).peak)
    assert needs in told
    assert pieces.startswith("not enough memory: going on with 4 rows at once instead of 16, accumulated 4 times")
    found, config = fitted(needed(rows=4).peak)
    assert first_micro_batches(found, config) == 4


def test_what_may_just_not_fit_is_tried_with_a_warning() -> None:
    _, warning = notes_of(needed().peak - 1, training__auto_batch=False, training__recompute="off")
    assert warning.startswith("memory may run out; what fits and learns the same: `training.batch_size: 8`")
    _, twice, *_ = notes_of(needed(rows=1).peak - 1)
    assert twice.startswith("not enough memory to keep what they compute: the layers are computed twice")
    _, pieces, warning = notes_of(needed(rows=1).peak - 1, training__recompute="off")
    assert pieces.startswith("not enough memory: going on with 1 rows at once instead of 16")
    assert warning.startswith("memory may run out")
