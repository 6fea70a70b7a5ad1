"""The machine is asked, not assumed; dropout's generator depends on the position alone."""

import pytest
import torch

from nima_cli.engine.device import Device, pick_device, pick_inference_device
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


def test_int8_is_for_processors_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True}, raising=False)
    assert pick_device("cpu", True).int8
    assert pick_device("cpu", "int8").int8
    assert pick_device("cpu", "int8").dtype is torch.float32  # no bfloat16 beside it
    assert not pick_device("cpu", "bf16").int8
    assert not pick_device("cpu", False).int8
    assert not pick_inference_device("cpu", "auto", batched=True).int8
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    assert not pick_device("cpu", True).int8
    with pytest.raises(DeviceError, match="needs a processor with") as caught:
        pick_device("cpu", "int8")
    assert (caught.value.exit_code, caught.value.hint) == (4, "use `true`")


@no_gpu
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused() -> None:
    if not torch.backends.mps.is_available():
        assert pick_device("auto", False).device.type == "cpu"
    with pytest.raises(DeviceError, match="GPU 0 was asked for, but there is none") as caught:
        pick_device("cuda", False)
    assert caught.value.exit_code == 4


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
