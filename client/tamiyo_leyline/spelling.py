"""What the sender of an unknown field may have meant."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from pydantic import BaseModel

from tamiyo_leyline.fields import Request

_LONGEST: Final = 80
"""Names beyond this are no misspelling of anything."""
_LISTED: Final = 140
"""Characters of known names that are listed: a message may come twenty times."""


def remedy(title: str, place: Sequence[int | str]) -> str:
    """What to do about a field that is not known: "did you mean alpha?", "it belongs in metrics".

    Empty where the schema is none that people send.

    Args:
        title: name of the schema that was validated.
        place: of the field in the input; the last part is its name.
    """
    schema = _at(_schema(title), place[:-1])
    if schema is None:
        return ""
    name = str(place[-1])[:_LONGEST]
    inner = dict(_inner(schema))
    if name in inner:
        return f"it belongs in {inner[name].removesuffix('.' + name)}"
    if meant := _nearest(name, schema.model_fields) or inner.get(_nearest(name, inner)):
        return f"did you mean {meant}?"
    return f"known are {_some(list(schema.model_fields))}"


def _schema(title: str) -> type[BaseModel] | None:
    return next((schema for schema in _descendants(Request) if schema.__name__ == title), None)


def _descendants(schema: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for child in schema.__subclasses__():
        yield child
        yield from _descendants(child)


def _at(schema: type[BaseModel] | None, place: Sequence[int | str]) -> type[BaseModel] | None:
    """The schema of the object at a place within another."""
    for part in place:
        if schema is None:
            return None
        field = schema.model_fields.get(str(part))
        # The schema of a list's entries was found by the list's name; other parts are pydantic's marks.
        schema = schema if field is None else next(_schemas_in(field.annotation), None)
    return schema


def _schemas_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The schemas that an annotation such as ``tuple[Seed, ...] | None`` names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _schemas_in(argument)


def _inner(schema: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """The fields of objects within one, each with its path."""
    for outer, field in schema.model_fields.items():
        for inner in _schemas_in(field.annotation):
            for name in inner.model_fields:
                yield name, f"{outer}.{name}"


def _nearest(name: str, names: Any) -> str:
    from difflib import get_close_matches

    return next(iter(get_close_matches(name.lower(), list(names), 1, 0.7)), "")


def _some(names: Sequence[str]) -> str:
    shown = [name for name, end in zip(names, accumulate(map(len, names)), strict=True) if end <= _LISTED]
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return ", ".join(shown) + more
