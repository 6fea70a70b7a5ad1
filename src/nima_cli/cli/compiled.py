"""Where programs are kept that nima compiles for this machine, and the beginning of it while torch is imported."""

from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nima_cli.engine.kernels.build import Program


def compiled() -> Path:
    """The folder of compiled programs."""
    from nima_cli.config.environ import home

    return home() / "compiled"


def compile_decoder_meanwhile(device: str) -> None:
    """Begin with what the first text on a machine would wait for, before torch is imported and a model is read."""
    from nima_cli.engine.kernels.build import DECODER

    _compile_meanwhile(DECODER, device)


def compile_kernels_meanwhile(device: str) -> None:
    """Begin with what the first step of training on a machine would wait for."""
    from nima_cli.engine.kernels.build import KERNELS

    _compile_meanwhile(KERNELS, device)


def _compile_meanwhile(program: "Program", device: str) -> None:
    from nima_cli.engine.kernels.build import NoProgramError, library

    def compile_program(folder: Path) -> None:
        with suppress(NoProgramError):  # whoever needs the program finds out again, and says why
            library(program, folder)

    if device in ("auto", "cpu") and program.fits_platform:
        Thread(target=compile_program, args=(compiled(),)).start()
