"""A package that is not installed is named, with the extra that brings it."""

import json

import pytest

from nima_cli.engine.packages import needed
from nima_cli.errors import ResourceError


def test_a_package_is_imported_or_named_with_its_extra() -> None:
    assert needed("json", extra="x", what="this") is json
    with pytest.raises(ResourceError, match="the package `no_such_package` is needed for this") as caught:
        needed("no_such_package", extra="pretrained", what="this")
    assert caught.value.hint == "pip install 'nima[pretrained]'"
