"""The machine is asked, not assumed; dropout's generator depends on the position alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch

from nima_cli.engine.device import (
    Device,
    cpu_type,
    explain_no_cuda,
    keep_freed_memory,
    pick_device,
    pick_inference_device,
)
from nima_cli.errors import DeviceError

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_the_cpu_is_always_there() -> None:
    exact = pick_device("cpu", False)
    assert (exact.device.type, exact.dtype, exact.name, exact.dtype_name) == ("cpu", torch.float32, "cpu", "float32")
    assert pick_device("cpu", "bf16").dtype is torch.bfloat16
    assert pick_device("cpu", True).dtype in (torch.float32, torch.bfloat16)
    exact.synchronize()


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(DeviceError, match="needs a GPU") as caught:
        pick_device("cpu", "fp16")
    assert caught.value.exit_code == 4
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        (("avx512_bf16", "avx512_vnni"), torch.bfloat16),
        (("avx512_vnni", "amx_bf16"), torch.bfloat16),
        (("avx512_vnni",), torch.float32),
        ((), torch.float32),
    ],
)
def test_a_processor_trains_in_what_it_is_fastest_in(features: Sequence[str], dtype: torch.dtype) -> None:
    known = dict.fromkeys(("avx512_bf16", "avx512_vnni", "amx_bf16"), False)
    assert cpu_type({**known, **dict.fromkeys(features, True)}) is dtype


def settings_of(refused: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is set in a C library that refuses these settings."""
    taken: list[tuple[int, int]] = []

    def mallopt(which: int, value: int) -> int:
        if (which, value) in refused:
            return 0
        taken.append((which, value))
        return 1

    keep_freed_memory(mallopt)
    return taken


def test_freed_memory_is_kept_as_far_as_the_c_library_allows() -> None:
    """What is set last ends the library's own adaption: alone it would keep the small threshold it starts with."""
    threshold, trim, most, most_of_old = -3, -1, 2**31 - 1, 32 * 2**20
    assert settings_of([]) == [(threshold, most), (trim, most)]
    assert settings_of([(threshold, most)]) == [(threshold, most_of_old), (trim, most)]
    assert settings_of([(threshold, most), (threshold, most_of_old)]) == []


@no_gpu
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused() -> None:
    if not torch.backends.mps.is_available():
        assert pick_device("auto", False).device.type == "cpu"
    with pytest.raises(DeviceError, match="GPU 0 was asked for, but ") as caught:
        pick_device("cuda", False)
    assert caught.value.exit_code == 4
    assert caught.value.hint is not None
    if torch.version.cuda is None and torch.version.hip is None:
        assert caught.value.message.endswith("was built without CUDA")
        assert "pytorch.org" in caught.value.hint


@pytest.mark.parametrize(
    ("features", "precision", "told"),
    [
        ({"avx512_bf16": False, "amx_bf16": False}, "bf16", True),
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16", False),
        ({"avx512_bf16": False, "amx_bf16": False}, True, False),
        ({"avx512_bf16": False, "amx_bf16": False}, False, False),
    ],
)
def test_bf16_by_name_is_pointed_out_where_it_is_imitated(
    features: dict[str, bool], precision: Literal["bf16"] | bool, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    notes = pick_device("cpu", precision).notes
    assert [note.message.startswith("bfloat16: cpu has no instructions for it") for note in notes] == [True] * told


@pytest.mark.parametrize(
    ("said", "reason", "way_out"),
    [
        (
            "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver\nmore",
            "the NVIDIA driver is too old for this torch: The NVIDIA driver on your system is too old",
            "update the driver",
        ),
        ("Found no NVIDIA driver on your system. Please check", "there is none: Found no NVIDIA driver", "nvidia-smi"),
        ("No CUDA GPUs are available", "there is none: No CUDA GPUs are available", "CUDA_VISIBLE_DEVICES"),
        ("", "there is none", "nvidia-smi"),
    ],
)
def test_why_torch_sees_no_gpu_is_told_with_the_way_out(said: str, reason: str, way_out: str) -> None:
    found, hint = explain_no_cuda(said)
    assert found.startswith(reason)
    assert way_out in hint
    assert "\n" not in found


@no_gpu
@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has mps")
def test_auto_says_once_that_a_gpu_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if not Path("/proc/driver/nvidia/version").exists():
        assert pick_device("auto", False).notes == ()
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n", "utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    for found in (pick_device("auto", True), pick_inference_device("auto", "auto", batched=False)):
        (note,) = found.notes
        assert note.level == "warning"
        assert note.message.startswith("computing on the CPU, although there is a driver for NVIDIA GPUs: ")
    assert pick_device("cpu", True).notes == ()


@no_gpu
def test_auto_takes_no_mps_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    found = pick_device("auto", True)
    assert found.device.type == "cpu"
    assert [note.level for note in found.notes] == ["info"]
    assert "`hardware.device`" in found.notes[0].message
    assert pick_device("mps", True).device.type == "mps"
    assert pick_device("mps", True).notes == ()


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has mps")
def test_mps_is_refused_where_there_is_none() -> None:
    with pytest.raises(DeviceError, match="`mps` was asked for"):
        pick_device("mps", False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_found_by_name() -> None:
    found = pick_device("auto", True)
    assert found.device.type == "cuda"
    assert found.name == torch.cuda.get_device_name(0)
    assert found.dtype in (torch.bfloat16, torch.float16)
    found.synchronize()
    with pytest.raises(DeviceError, match="can be seen"):
        pick_device("cuda", False, index=torch.cuda.device_count())


def test_every_type_has_its_public_name() -> None:
    names = [Device(torch.device("cpu"), dtype).dtype_name for dtype in (torch.float32, torch.bfloat16, torch.float16)]
    assert names == ["float32", "bfloat16", "float16"]
