"""Compiles programs for this machine, while torch is imported, and says where they are kept."""

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


def compile_kernels_meanwhile(device: str) -> None:
    """Start compiling the kernels of training."""
    from nima_cli.engine.kernels.build import KERNELS

    compile_meanwhile(KERNELS, device)


def compile_meanwhile(program: "Program", device: str) -> None:
    """Start compiling a program that a model on `device` would wait for."""
    from nima_cli.engine.kernels.build import NoProgramError, library

    def compile_program(folder: Path) -> None:
        with suppress(NoProgramError):  # whoever needs the program finds out again, and says why
            library(program, folder)

    if device in ("auto", "cpu") and program.fits_platform:
        Thread(target=compile_program, args=(compiled(),)).start()
