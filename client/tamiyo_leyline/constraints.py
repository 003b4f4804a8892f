"""How Leyline words a refusal: what would be right, so that the message is also the remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, LiteralString

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_LISTED: Final = 5


class Explained:
    """Annotation: replaces pydantic's wording by one sentence, at no cost while the value is right.

    Args:
        kind: the error's type.
        message: what would be right, starting with "must".
    """

    def __init__(self, kind: LiteralString, message: str) -> None:
        self.kind: Final = kind
        self.message: Final = message

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type=self.kind, custom_error_message=self.message
        )


class WholeNumber:
    """Annotation of an integer between two bounds, both included."""

    def __init__(self, low: int, high: int) -> None:
        self.low: Final = low
        self.high: Final = high

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(
            core_schema.int_schema(ge=self.low, le=self.high),
            custom_error_type="whole_number",
            custom_error_message=f"must be a whole number from {self.low} to {self.high}",
        )


def fault(kind: LiteralString, field: str, message: str) -> PydanticCustomError:
    """The error of a rule that spans several fields, blamed on `field` (a path within the schema)."""
    return PydanticCustomError(kind, "{field} {message}", {"field": field, "message": message})


def repeated(values: Iterable[str]) -> str:
    """The first few of the values that occur more than once, as text; empty when none does."""
    return listed(value for value, count in Counter(values).items() if count > 1)


def listed(values: Iterable[str]) -> str:
    """The first few of the values, separated by commas."""
    names = list(values)
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
