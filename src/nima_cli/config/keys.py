"""Lists the keys of the schema and says what each may hold."""

from collections.abc import Iterator, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from nima_cli.config.schema import Config
from nima_cli.config.section import Section

# A place in the configuration: names of sections and keys, and indexes where a list is entered.
KeyPath = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """`training.epochs`, or `data.sources[0].path`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def section_type(annotation: Any) -> type[Section] | None:
    """The annotation if it is a section, else None."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def item_type(annotation: Any) -> Any:
    """The annotation of the items of a list, None for anything else."""
    return get_args(annotation)[0] if get_origin(annotation) is list else None


def find(path: KeyPath) -> tuple[Any, Sequence[Any]]:
    """The annotation and bounds of `path` in the schema; `None, ()` for an unknown path."""
    annotation: Any = Config
    metadata: Sequence[Any] = ()
    for part in path:
        section, item = section_type(annotation), item_type(annotation)
        if isinstance(part, int) and item is not None:
            annotation, metadata = item, ()
        elif isinstance(part, str) and section is not None and part in section.model_fields:
            field = section.model_fields[part]
            annotation, metadata = field.annotation, field.metadata
        else:
            return None, ()
    return annotation, metadata


@cache
def sections() -> dict[tuple[str, ...], type[Section]]:
    """Every section by its path, outermost first; `("data", "sources[]")` is an item of `data.sources`."""

    def walk(path: tuple[str, ...], section: type[Section]) -> Iterator[tuple[tuple[str, ...], type[Section]]]:
        yield path, section
        for name, field in section.model_fields.items():
            if inner := section_type(field.annotation):
                yield from walk((*path, name), inner)
            elif inner := section_type(item_type(field.annotation)):
                yield from walk((*path, f"{name}[]"), inner)

    return dict(walk((), Config))


def plain_sections() -> dict[tuple[str, ...], type[Section]]:
    """The sections outside lists."""
    return {path: section for path, section in sections().items() if not any(part.endswith("[]") for part in path)}


@cache
def leaves() -> dict[tuple[str, ...], FieldInfo]:
    """Every key that holds a value, in the order of the schema; a list is one value."""
    return {
        (*path, name): field
        for path, section in plain_sections().items()
        for name, field in section.model_fields.items()
        if section_type(field.annotation) is None
    }


def allowed(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """What a key may hold, as words: `a number above 0 and at most 10`, `` `min`, `max` or `null` ``."""
    words = [word for member in _members(annotation, metadata) for word in _words(*member)]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def choices(annotation: Any) -> list[str]:
    """The words that a key may hold, if it is a choice between words."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [word for member in get_args(annotation) for word in choices(member)]


def takes_text(annotation: Any) -> bool:
    """Whether free text is a valid value."""
    return any(member is str for member, _ in _members(annotation, ()))


def _words(annotation: Any, metadata: Sequence[Any]) -> list[str]:
    if get_origin(annotation) is Literal:
        return [f"`{value}`" for value in get_args(annotation)]
    if (item := item_type(annotation)) is not None:
        return [f"a list, each item {allowed(item)}"]
    if get_origin(annotation) is dict:
        return ["a mapping of text to text"]
    if (section := section_type(annotation)) is not None:
        return [f"a section with the keys {', '.join(f'`{key}`' for key in section.model_fields)}"]
    return {
        bool: ["`true`", "`false`"],
        int: [f"a whole number{_range(metadata)}"],
        float: [f"a number{_range(metadata)}"],
        str: ["text"],
        type(None): ["`null`"],
    }[annotation]


def _range(metadata: Sequence[Any]) -> str:
    kinds = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
    found = {kind: getattr(item, kind) for kind in kinds for item in metadata if hasattr(item, kind)}
    bounds = {kind: f"{bound:g}" if isinstance(bound, float) else bound for kind, bound in found.items()}
    if bounds.keys() == {"ge", "le"}:
        return f" from {bounds['ge']} to {bounds['le']}"
    return f" {' and '.join(f'{kinds[kind]} {bound}' for kind, bound in bounds.items())}" if bounds else ""


def _members(annotation: Any, metadata: Sequence[Any]) -> list[tuple[Any, list[Any]]]:
    """The members of a union, or the annotation itself, without `Annotated`; with the bounds that it carries."""
    found = list(metadata)
    while get_origin(annotation) is Annotated:
        annotation, *extra = get_args(annotation)
        found += [bound for item in extra for bound in (item.metadata if isinstance(item, FieldInfo) else [item])]
    if get_origin(annotation) in (Union, UnionType):
        return [inner for member in get_args(annotation) for inner in _members(member, found)]
    return [(annotation, found)]
