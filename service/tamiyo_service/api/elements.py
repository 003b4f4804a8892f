"""A long JSON list, cut into its elements before any of them is read.

Reading everything at once costs memory and time in proportion to what was sent, and nobody else is served
meanwhile. Cutting stops at the first element too many, and lets others in between the slices.
"""

from __future__ import annotations

import asyncio
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import Final

from tamiyo_leyline.api import MAX_BATCH_REPORTS, MAX_BODY_BYTES, BatchItem

from tamiyo_service.errors import InvalidReportError

SLICE_BYTES: Final = 16 * 1024
"""How much of a body is worked on at a stretch: a few milliseconds."""
MAX_BRACKETS: Final = 4096
"""Lists and objects in one element: several times what the largest report has."""

_SPACE: Final = rb"[ \t\r\n]*+"
_OPENING: Final = re.compile(_SPACE + _SPACE.join([rb"\{", rb'"reports"', rb":", rb"\["]) + _SPACE)
_CLOSING: Final = re.compile(rb"\]" + _SPACE + rb"\}" + _SPACE)
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_TO_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+([\[\]{}])", re.DOTALL)
_TO_BRACKET_OR_COMMA: Final = re.compile(rb'(?:[^"\[\]{},]++|' + _STRING + rb")*+([\[\]{},])", re.DOTALL)
_NO_BATCH: Final = 'the body must be {"reports": […]} in valid JSON'


class Turns:
    """Lets others have a turn after every `SLICE_BYTES` of work."""

    def __init__(self) -> None:
        self._since = 0

    async def worked(self, size: int) -> None:
        """Account for `size` bytes of work."""
        self._since += size
        if self._since >= SLICE_BYTES:
            self._since = 0
            await asyncio.sleep(0)


async def report_elements(body: bytes) -> list[bytes]:
    """The elements of ``{"reports": […]}``, each still to be parsed.

    Raises:
        pydantic.ValidationError: if the body begins with a byte order mark.
        InvalidReportError: if the body is something else, or an element is too large to be a report, or there
            are more than `MAX_BATCH_REPORTS`.
    """
    opened = _OPENING.match(body)
    if opened is None:
        if body.startswith((BOM_UTF8, BOM_UTF16_LE, BOM_UTF16_BE)):
            # In Leyline's words.
            BatchItem.model_validate_json(body)
        raise InvalidReportError(_NO_BATCH, field="reports")
    start, elements, turns = opened.end(), list[bytes](), Turns()
    if body[start : start + 1] != b"]":
        start -= 1
        while body[start : start + 1] != b"]":
            start += 1
            end = _end(body, start, len(elements))
            elements.append(body[start:end])
            start = end
            await turns.worked(len(elements[-1]))
    if not _CLOSING.fullmatch(body, start):
        raise InvalidReportError(_NO_BATCH, field="reports")
    return elements


def _end(body: bytes, start: int, number: int) -> int:
    """Where the element that begins at `start` ends: at a comma, or at the bracket that closes the list."""
    if number == MAX_BATCH_REPORTS:
        raise InvalidReportError(
            f"must have at most {MAX_BATCH_REPORTS} entries; send less at a time", field="reports"
        )
    depth = brackets = 0
    at, last = start, start + MAX_BODY_BYTES
    while brackets <= MAX_BRACKETS:
        found = (_TO_BRACKET if depth else _TO_BRACKET_OR_COMMA).match(body, at, last)
        if found is None:
            break
        at = found.end()
        if found[1] in b"[{":
            depth += 1
            brackets += 1
        elif depth:
            depth -= 1
        else:
            return at - 1
    else:
        raise InvalidReportError(
            f"has more than {MAX_BRACKETS} lists and objects: it is no report", field=f"reports.{number}"
        )
    if last < len(body):
        raise InvalidReportError("exceeds 1 MiB: it is no report", field=f"reports.{number}")
    raise InvalidReportError(_NO_BATCH, field="reports")
