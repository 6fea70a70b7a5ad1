"""What to say when numbers leave the finite: which step, which samples, which checkpoint is left; decides nothing."""

from collections.abc import Sequence

from nima_cli.engine.data.store.dataset import TokenDataset
from nima_cli.engine.training.planning.plan import RunPlan
from nima_cli.errors import DivergedError

_SHOWN = 5


def describe_rows(split: TokenDataset, plan: RunPlan, *, seed: int, last_step: int, steps: int) -> str:
    """The rows that the last `steps` steps learned from, and the samples of the train split that are in them."""
    rows = range(max(0, last_step - steps) * plan.rows_per_step, last_step * plan.rows_per_step)
    samples = split.samples_in(rows, context_length=plan.context_length, seed=seed)
    return f"rows {rows[0]} to {rows[-1]} of the train split, with its samples {_listed(samples)}"


def _listed(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return ", ".join(map(str, numbers[:_SHOWN])) + more


def diverged(what: str, *, step: int, learning_rate: float, rows: str, left: str) -> DivergedError:
    """The end of a run that left the finite numbers.

    Args:
        what: was not finite.
        step: optimizer step at which the run ends.
        learning_rate: of that step.
        rows: what `describe_rows` said.
        left: the last good checkpoint in a few words, or that there is none.
    """
    return DivergedError(
        f"step {step}: {what} at learning rate {learning_rate:g}, on {rows}; {left}",
        hint="lower `training.learning_rate` and start again, or let `training.max_rollbacks: 2` do so by itself",
    )
