"""The compiled programs, in a build that ends at the first undefined behaviour, pass their tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Those that call a kernel or the decoder.
TESTED = ("attention", "decoder", "forward", "heads", "integers", "kernels", "losses", "quantized", "quantized_loss")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="loads the sanitizers' libraries as Linux does")
@pytest.mark.parametrize("processor", ["native", "portable"])
def test_no_kernel_reads_or_writes_beyond_its_memory_or_does_what_is_undefined(processor: str) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ here")
    asked = [[compiler, f"-print-file-name={name}.so"] for name in ("libasan", "libubsan")]
    libraries = [subprocess.run(each, capture_output=True, text=True, check=True).stdout.strip() for each in asked]
    if not all(Path(library).is_absolute() for library in libraries):
        pytest.skip("g++ has no sanitizers here")
    env = {**os.environ, "LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0"}
    if processor == "portable":
        env["PORTABLE"] = "1"
    tests = [found for name in TESTED for found in (ROOT / "tests/engine/kernels").rglob(f"test_*{name}.py")]
    options = ["-p", "tests.crash.sanitized", "-p", "no:xdist", "-m", "not slow"]
    command = [sys.executable, "-m", "pytest", *options, *map(str, tests)]
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    assert "passed" in ran.stdout
