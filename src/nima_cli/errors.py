"""The failures a user can cause, each with its exit code; knows nothing of how they are shown.

The engine raises these for anything that comes from outside (files, config, machine). `assert` is for what only our own
code can break. Exit codes are a promise to scripts: 2 bad input, 3 checkpoint or tokenizer, 4 environment, 5 diverged.
"""

from pathlib import Path


class NimaError(Exception):
    """An expected failure: one line of what went wrong, and optionally one line of what to do.

    Args:
        message: lower-case start, no final stop, names the place first (`file:line`, key, flag).
        hint: what the user can do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(NimaError):
    """Bad input on the command line or in a prompt."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration that cannot be used."""


class DataError(InputError):
    """Documents or a prepared dataset that cannot be used."""


class NotPreparedError(DataError):
    """A `folder` was taken for a prepared dataset and is none."""

    def __init__(self, folder: Path, message: str) -> None:
        super().__init__(message, hint="prepare one, in a folder of its own")
        self.folder = folder


class CheckpointError(NimaError):
    """A checkpoint or tokenizer that cannot be used."""

    exit_code = 3


class ResourceError(NimaError):
    """The machine says no: disk, memory, permission, lock."""

    exit_code = 4


class DeviceError(ResourceError):
    """A processor, GPU or rank that is absent or failed."""


class DivergedError(NimaError):
    """Training left the finite numbers."""

    exit_code = 5
