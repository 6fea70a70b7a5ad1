"""Every format has a converter that is there, and no suffix belongs to two."""

import pytest

from nima_cli.engine.data.ingest.formats.registry import FORMATS, Format, format_of


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_converters_are_there(form: Format) -> None:
    assert callable(form.function())
    assert all(format_of(suffix) is form for suffix in form.suffixes)


def test_lightweight_markup_can_be_read_as_it_is_written() -> None:
    for form in FORMATS:
        for suffix in form.suffixes:
            assert (format_of(suffix, as_written=True) is None) == form.lightweight
