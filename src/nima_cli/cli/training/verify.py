"""`nima train --verify-resume`: one line that says whether a run can be stopped and resumed without a trace here."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nima_cli.cli.compiled import compiled
from nima_cli.cli.event_handlers import print_json
from nima_cli.errors import DeviceError, InputError

if TYPE_CHECKING:
    from nima_cli.config.schema import Config


def show_verdict(config: "Config", folder: Path, *, json: bool) -> None:
    """Verify, and print the verdict on stdout.

    Raises:
        DeviceError: the resumed run was another one; names the first difference.
        NimaError: the configuration, dataset or device cannot be used.
    """
    from nima_cli.engine.training.resume.verify import HALF, verify_resume
    from nima_cli.ui.console import out, say

    if "WORLD_SIZE" in os.environ:
        raise InputError("--verify-resume: trains in one process", hint="run it without a launcher")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS has no fixed order of sums
    say(f"training {2 * HALF} steps at once, then {HALF} and {HALF} in two processes")
    verdict = verify_resume(config, folder, compiled())
    how = f"{verdict.device} {verdict.dtype}, {verdict.threads} threads, {verdict.seconds:g} s"
    if json:
        print_json(verdict.to_dict())
    elif verdict.identical:
        out().print(f"resume is bit-identical: {verdict.steps} steps at once = {HALF} + {HALF} ({how})")
        if verdict.deterministic:
            say("verified with sums in a fixed order; a run itself leaves the GPU its own, and is equal up to rounding")
    if not verdict.identical:
        raise DeviceError(
            f"resume is not exact here: {verdict.difference} ({how})",
            hint="a run that is resumed goes on well, but not bit for bit; on a GPU, kernels that add up in any order "
            "are the usual reason",
        )
