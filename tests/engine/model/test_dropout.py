"""Dropout that belongs to rows: its masks, its share, and the seeds of its generators."""

import itertools

import pytest
import torch

from nima_cli.engine.model.dropout import RowDropout, row_seed

CPU = torch.device("cpu")


def dropped(rows: list[int], *, seed: int = 42, share: float = 0.3) -> torch.Tensor:
    drop = RowDropout(share)
    drop.seed(seed, rows, CPU)
    found: torch.Tensor = drop(torch.ones(len(rows), 50, 40))
    return found


def test_a_row_keeps_its_mask_whatever_company_it_is_in() -> None:
    together = dropped([7, 8, 9])
    torch.rand(10)  # whatever else draws random numbers
    assert torch.equal(dropped([9, 7]), together[[2, 0]])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(dropped([7], seed=43), together[:1])


def test_the_share_is_dropped_and_the_rest_scaled_up() -> None:
    found = dropped(list(range(20)))
    assert sorted(set(found.flatten().tolist())) == pytest.approx([0.0, 1.0 / 0.7])
    assert (found == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)


def test_the_places_of_a_model_drop_differently() -> None:
    drop = RowDropout(0.5)
    drop.seed(1, [0], CPU)
    ones = torch.ones(1, 8, 8)
    assert not torch.equal(drop(ones), drop(ones))


def test_nothing_is_dropped_outside_of_training_or_without_a_share() -> None:
    ones = torch.ones(2, 3, 4)
    assert RowDropout(0.5).eval()(ones) is ones
    assert RowDropout(0.0)(ones) is ones


def test_a_model_that_was_never_told_its_rows_drops_at_random() -> None:
    assert (RowDropout(0.5)(torch.ones(2, 30, 40)) == 0).any()


def test_no_two_rows_share_a_seed() -> None:
    positions = [*itertools.product((0, 1, 42, 2**63 - 1), (0, 1, 2, 3, 10**9))]
    seeds = {row_seed(*position) for position in positions}
    assert len(seeds) == len(positions)
    assert all(0 <= seed < 2**63 for seed in seeds)
