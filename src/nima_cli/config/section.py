"""Declares settings: sections, keys with defaults and bounds, and types of values."""

import contextlib
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A frozen group of keys; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def setting(default: Any, description: str, **bounds: Any) -> Any:
    """A key with its default, or the class of a section; `bounds` are `ge`, `gt`, `le` and `lt`."""
    if isinstance(default, type | list):
        factory = default if isinstance(default, type) else default.copy
        return Field(default_factory=factory, description=description)
    return Field(default, description=description, **bounds)


def optional(description: str, **bounds: Any) -> Any:
    """A key that is `null` unless it is set."""
    return setting(None, description, **bounds)


def _no_bool(value: Any) -> Any:
    """Refuse `true` as a number: pydantic's lax mode would read it as 1."""
    if isinstance(value, bool):
        raise ValueError("expected a number, got true or false")
    return value


def _whole(value: Any) -> Any:
    """As `_no_bool`, and read `1e5` as a whole number: from a variable it comes as text."""
    if isinstance(value, str) and "e" in value.lower():
        with contextlib.suppress(ValueError):
            number = float(value)
            return int(number) if number.is_integer() else value
    return _no_bool(value)


def _printable(value: str) -> str:
    """Refuse control characters: names have none, and some, such as NUL, break system calls."""
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise ValueError("control characters are not allowed")
    return value


Int = Annotated[int, BeforeValidator(_whole)]
Float = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
