"""The two programs that nima compiles; torch-free, so that a command can begin to compile before torch is there."""

from pathlib import Path

from nima_cli.engine.kernels.build import Program

_FOLDER = Path(__file__).with_name("cpp")
_NO_ERRNO = "-fno-math-errno"

# For training. Not linked with OpenMP: see `cpp/threads.h`. Elsewhere than on Linux that would not link, after seconds
# of trying.
KERNELS = Program(
    "kernels",
    _FOLDER,
    ("attention", "integers", "loss", "norm", "packing", "pointwise", "quantize", "softmax"),
    (("-march=native", _NO_ERRNO), ("-mcpu=native", _NO_ERRNO), (_NO_ERRNO,)),
    platform="linux",
)
DECODER = Program(
    "decode",
    _FOLDER,
    ("decode",),
    (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-mcpu=native",), ()),
)
