"""Cursors: where the next page of a list begins, opaque to the caller and bound to the list's filters."""

from __future__ import annotations

import base64
import binascii
import hashlib

import orjson
from pydantic import BaseModel

from tamiyo_service.errors import InvalidQueryError


def encode_cursor(position: int, wanted: BaseModel, scope: str = "") -> str:
    """The cursor after the item at `position` of the list that `wanted` describes.

    Args:
        position: of the last item of the page.
        wanted: the list's query.
        scope: what else tells lists apart, such as the run.
    """
    data = orjson.dumps([position, _fingerprint(wanted, scope)])
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode_cursor(cursor: str | None, wanted: BaseModel, scope: str = "") -> int | None:
    """The position a cursor stands for; None without one.

    Raises:
        InvalidQueryError: if the cursor is broken or belongs to a list with other filters.
    """
    if cursor is None:
        return None
    try:
        data = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        position, fingerprint = data
    except (binascii.Error, ValueError, TypeError) as error:
        raise _broken() from error
    if not isinstance(position, int) or fingerprint != _fingerprint(wanted, scope):
        raise _broken()
    return position


def _broken() -> InvalidQueryError:
    return InvalidQueryError(
        "cursor is not the next_cursor of a page with these filters; start again without it", field="cursor"
    )


def _fingerprint(wanted: BaseModel, scope: str) -> str:
    filters = wanted.model_dump_json(exclude={"cursor", "limit"})
    return hashlib.sha256(f"{scope}\n{filters}".encode()).hexdigest()[:16]
