"""An evaluation as plain text."""

from typing import Any

import pytest

from nima_cli.ui.eval_view import eval_view
from tests.ui.test_tables import printed


def test_the_figures_of_a_split(capsys: pytest.CaptureFixture[str]) -> None:
    result: dict[str, Any] = {
        "split": "test", "loss": 2.5, "perplexity": 12.18, "bits_per_byte": 0.86, "accuracy": 0.41, "tokens": 200_000,
    }  # fmt: skip
    assert printed(eval_view(result), capsys) == [
        ["test split"],
        ["loss (nats per token)", "2.500"],
        ["perplexity", "12.18"],
        ["bits per byte", "0.860"],
        ["next-token accuracy", "41.0%"],
        ["tokens evaluated", "200,000"],
    ]
    assert printed(eval_view({"split": "val", "loss": 1.0, "accuracy": None}), capsys)[1:] == [
        ["loss (nats per token)", "1.000"]
    ]
