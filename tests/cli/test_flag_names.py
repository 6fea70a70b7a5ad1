"""The engine's names of options, in the words of the command that was called."""

import pytest

from nima_cli.cli.flag_names import in_flags

FLAGS = {"overwrite": "--overwrite", "resume": "--resume", "min_length": "--min-length", "dedupe": "--dedup"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("pass `overwrite=True` to replace it", "pass `--overwrite` to replace it"),
        ("go on with `resume=auto`", "go on with `--resume auto`"),
        ("`data.min_length` is too large", "`data.min_length` is too large"),
        ("lower `min_length=`", "lower `--min-length`"),
        ("keep them with `dedupe=exact`", "keep them with `--dedup exact`"),
        ("set `training.batch_size` lower", "set `training.batch_size` lower"),
        ("keys found: `overwrite`, `prompt`", "keys found: `overwrite`, `prompt`"),
        ("`seed=3`", "`seed=3`"),
    ],
)
def test_options_of_the_command_are_flags(said: str, shown: str) -> None:
    assert in_flags(said, FLAGS) == shown
