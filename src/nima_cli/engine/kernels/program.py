"""What to compile for training; torch-free, so that a command can begin before torch is there."""

from pathlib import Path

from nima_cli.engine.kernels.build import Program

# Not linked with OpenMP: see `cpp/threads.h`. Elsewhere than on Linux that would not link, after seconds of trying.
_FLAGS = ("-fno-math-errno",)
KERNELS = Program(
    "kernels",
    Path(__file__).with_name("cpp"),
    (("-march=native", *_FLAGS), ("-mcpu=native", *_FLAGS), _FLAGS),
    platform="linux",
)
