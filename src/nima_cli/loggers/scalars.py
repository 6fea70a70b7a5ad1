"""The names under which dashboards show numbers; knows no dashboard."""

from nima_cli.events import EvalDone, StepDone, perplexity


def step_scalars(event: StepDone) -> dict[str, float]:
    """Name -> value of a training step."""
    return {
        "train/loss": event.loss,
        "train/perplexity": perplexity(event.loss),
        "train/learning_rate": event.learning_rate,
        "train/grad_norm": event.grad_norm,
        "train/tokens_per_second": event.tokens_per_second,
    }


def eval_scalars(event: EvalDone) -> dict[str, float]:
    """Name -> value of an evaluation."""
    return {
        f"{event.split}/loss": event.loss,
        f"{event.split}/perplexity": perplexity(event.loss),
        f"{event.split}/bits_per_byte": event.bits_per_byte,
        f"{event.split}/accuracy": event.accuracy,
    }
