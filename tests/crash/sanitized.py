"""A pytest plugin: nima's programs are compiled so that they end the process at the first undefined behaviour.

With `PORTABLE` in the environment they are compiled as for a processor that nothing is known of.
"""

import os

from nima_cli.engine.kernels import build
from nima_cli.engine.kernels.build import DECODER, KERNELS

_PATIENCE = 600.0  # seconds

build._ALWAYS = (*build._ALWAYS, "-fsanitize=undefined,address", "-fno-sanitize-recover=all", "-g1")
assert build.library.__kwdefaults__ is not None
build.library.__kwdefaults__["patience"] = _PATIENCE
if "PORTABLE" in os.environ:
    for program in (DECODER, KERNELS):
        object.__setattr__(program, "choices", program.choices[-1:])
