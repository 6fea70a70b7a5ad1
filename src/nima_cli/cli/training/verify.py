"""`nima train --verify-resume`: says in one line whether a resumed run is exactly the undisturbed one here."""

import os

from nima_cli.cli.compiled import compile_kernels_meanwhile, compiled
from nima_cli.cli.event_handlers import print_json
from nima_cli.cli.training.start import TrainOptions, prepare_data, settings_of
from nima_cli.errors import DeviceError, InputError


def show_verdict(options: TrainOptions) -> None:
    """Verify, and print the verdict on stdout.

    Raises:
        DeviceError: the resumed run was another one; names the first difference.
        NimaError: the configuration, dataset or device cannot be used.
    """
    from nima_cli.cli.datasets import data_dir
    from nima_cli.engine.training.resume.verify import HALF, verify_resume
    from nima_cli.ui.console import out, say

    if "WORLD_SIZE" in os.environ:
        raise InputError("--verify-resume: trains in one process", hint="run it without a launcher")
    settings = settings_of(options)
    compile_kernels_meanwhile(settings.hardware.device)
    prepare_data(settings, quiet=options.quiet)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS has no fixed order of sums
    say(f"training {2 * HALF} steps at once, then {HALF} and {HALF} in two processes")
    verdict = verify_resume(settings, data_dir(settings.data), compiled())
    how = f"{verdict.device} {verdict.dtype}, {verdict.threads} threads, {verdict.seconds:g} s"
    if options.json:
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
