"""Where nima keeps its own files."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from nima_cli.cli.home import home
from nima_cli.errors import ConfigError


@pytest.mark.parametrize("environ", [{"NIMA_HOME": "/srv/nima"}, {"NIMA_HOME": "~/n"}, {"NIMA_HOME": ""}, {}])
def test_home(environ: Mapping[str, str]) -> None:
    folder = home(environ)
    assert "~" not in str(folder)
    chosen = environ.get("NIMA_HOME")
    assert folder == Path(chosen).expanduser() if chosen else folder.name == "nima"


def test_a_home_that_cannot_be_is_one_line() -> None:
    with pytest.raises(ConfigError, match="NIMA_HOME: `~nosuchuser/x`: there is no such user"):
        home({"NIMA_HOME": "~nosuchuser/x"})
