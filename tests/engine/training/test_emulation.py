"""A number format that the processor only imitates is pointed out where it was asked for by name."""

import pytest
import torch

from nima_cli.engine.device import pick_device
from nima_cli.engine.training.emulation import emulation_notes
from tests.engine.training.runs import make_config


@pytest.mark.parametrize(
    ("features", "precision", "told"),
    [
        ({"avx512_bf16": False, "amx_bf16": False}, "bf16", True),
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16", False),
        ({"avx512_bf16": False, "amx_bf16": False}, True, False),
        ({"avx512_bf16": False, "amx_bf16": False}, False, False),
    ],
)
def test_bf16_by_name_where_it_is_imitated(
    features: dict[str, bool], precision: bool | str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    config = make_config(use_mixed_precision=precision)
    notes = emulation_notes(pick_device("cpu", config.training.use_mixed_precision), config)
    assert bool(notes) == told
    assert all(note.startswith("`training.use_mixed_precision: bf16`: cpu has no instructions") for note in notes)
