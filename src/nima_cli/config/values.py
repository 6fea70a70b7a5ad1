"""The kinds of value that a key may hold, with what must not pass as one; knows no key."""

import contextlib
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field


def _no_bool(value: Any) -> Any:
    """Refuse `true` where a number is meant: pydantic's lax mode would read it as 1."""
    if isinstance(value, bool):
        raise ValueError("expected a number, got true or false")
    return value


def _whole(value: Any) -> Any:
    """As `_no_bool`; `1e5` as text is whole too, because YAML makes a number of it and a variable does not."""
    if isinstance(value, str) and "e" in value.lower():
        with contextlib.suppress(ValueError):
            number = float(value)
            return int(number) if number.is_integer() else value
    return _no_bool(value)


def _printable(value: str) -> str:
    """Refuse control characters: no path or name has them, and some, such as NUL, break the system's calls."""
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise ValueError("control characters are not allowed")
    return value


Int = Annotated[int, BeforeValidator(_whole)]
Float = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
