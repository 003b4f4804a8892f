"""Runs by the beginnings of their ids."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, or_


def begins_with(column: ColumnElement[Any], prefixes: tuple[str, ...]) -> ColumnElement[bool]:
    """Whether a name begins with one of these, as ranges: an index answers for them, no character is special.

    Args:
        column: of names that are compared by their bytes.
        prefixes: of ASCII characters, none empty.
    """
    return or_(*(and_(column >= prefix, column < _after(prefix)) for prefix in prefixes))


def _after(prefix: str) -> str:
    """The first text after all that begin with the prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
