"""nima's own folder, and the programs for this machine that are compiled into it."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from nima_cli.errors import ConfigError, ResourceError

if TYPE_CHECKING:
    from nima_cli.engine.kernels.build import Program


def home(environ: Mapping[str, str] | None = None) -> Path:
    """The folder for nima's own files: `NIMA_HOME`, or in the user's cache folder."""
    chosen = (os.environ if environ is None else environ).get("NIMA_HOME")
    if chosen:
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            raise ConfigError(f"NIMA_HOME: `{chosen}`: there is no such user", hint="write the whole path") from error
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("nima", appauthor=False)
    except RuntimeError:
        folder = Path("~")
    if folder.parts[:1] == ("~",):  # not expanded, so it would be a folder in this one
        raise ResourceError(
            "this user has no home folder, and nima needs a folder for its own files",
            hint="set the variable NIMA_HOME, or HOME, to a folder that can be written",
        )
    return folder


def compiled() -> Path:
    """The folder of compiled programs."""
    return home() / "compiled"


def compile_meanwhile(program: "Program", device: str) -> None:
    """Start compiling a program that a model on `device` would wait for, while torch is imported."""
    from nima_cli.engine.kernels.build import NoProgramError, library

    def compile_program(folder: Path) -> None:
        with suppress(NoProgramError):  # whoever needs the program finds out again, and says why
            library(program, folder)

    if device in ("auto", "cpu") and program.fits_platform:
        Thread(target=compile_program, args=(compiled(),)).start()
