"""Cursors: where the next page of a list begins, opaque to the caller and bound to the list's filters."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final, TypeGuard

import orjson
from pydantic import BaseModel

from tamiyo_service.errors import InvalidQueryError
from tamiyo_service.store.rows import Position

_MAX_NUMBER: Final = 2**63 - 1
"""What a database holds as an integer."""


def encode_cursor(position: Position | None, wanted: BaseModel, scope: str = "") -> str | None:
    """The cursor that goes on after a position of the list that `wanted` describes.

    Args:
        position: where the page ends; None: the list ends there.
        wanted: the list's query.
        scope: what else tells lists apart, such as the run.
    """
    if position is None:
        return None
    data = orjson.dumps([*position, _fingerprint(wanted, scope)])
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode_cursor(
    cursor: str | None, wanted: BaseModel, scope: str = "", *, length: int = 1
) -> Position | None:
    """The position a cursor stands for; None without one.

    Args:
        cursor: as given.
        wanted: the list's query.
        scope: as for `encode_cursor`.
        length: numbers that make a position of that list.

    Raises:
        InvalidQueryError: if the cursor is broken or belongs to a list with other filters.
    """
    if cursor is None:
        return None
    try:
        encoded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        data = orjson.loads(base64.b64decode(encoded, altchars=b"-_", validate=True))
        *position, fingerprint = data
    except (binascii.Error, ValueError, TypeError) as error:
        raise _broken() from error
    if len(position) != length or not all(map(_is_number, position)):
        raise _broken()
    if fingerprint != _fingerprint(wanted, scope):
        raise _broken()
    return tuple(position)


def _is_number(value: object) -> TypeGuard[int]:
    # The exact type: true is an int too.
    return type(value) is int and 0 <= value <= _MAX_NUMBER


def _broken() -> InvalidQueryError:
    return InvalidQueryError(
        "cursor is not the next_cursor of a page with these filters; start again without it", field="cursor"
    )


def _fingerprint(wanted: BaseModel, scope: str) -> str:
    filters = wanted.model_dump_json(exclude={"cursor", "limit", "count"})
    return hashlib.sha256(f"{scope}\n{filters}".encode()).hexdigest()[:16]
