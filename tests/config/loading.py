"""Loading a configuration as the tests of this folder do; knows nothing of what any of them expects."""

import os
from pathlib import Path
from typing import Any

import pytest

from nima_cli.config.load import Resolved, load_config
from nima_cli.errors import ConfigError


def load(folder: Path, text: str, **more: Any) -> Resolved:
    """Load `text` from the file `run.yaml`, with an empty environment unless one is given."""
    path = folder / "run.yaml"
    path.write_text(text, "utf-8")
    return load_config(path, **{"environ": {}, **more})


def refused(folder: Path, text: str | None = None, **more: Any) -> str:
    """What the user reads, without the folder; a hint follows ` | `."""
    if text is not None:
        more["path"] = folder / "run.yaml"
        more["path"].write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(**{"environ": {}, **more})
    assert caught.value.exit_code == 2
    message = caught.value.message + (f" | {caught.value.hint}" if caught.value.hint else "")
    return message.replace(f"{folder}{os.sep}", "")
