"""Durations as people write them: ``90d``, ``12h``, ``1d12h``, or ISO 8601 ``P90D``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, TypeAdapter, ValidationError

_UNITS: Final = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_PART: Final = re.compile(r"(\d{1,9})([wdhms])")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+")
_ISO: Final = TypeAdapter(timedelta)
_LONGEST: Final = timedelta(days=36_500)


def parse_duration(text: str) -> timedelta:
    """The duration that a text such as ``90d`` or ``P90D`` stands for.

    Raises:
        ValueError: if it is none, not above zero, or above a hundred years.
    """
    text = text.strip()
    duration = _sum(text.lower()) if _WHOLE.fullmatch(text.lower()) else _iso(text)
    if duration is None:
        raise ValueError(f"{text!r} is no duration; write 90d, 12h, 30m, 45s, 2w, 1d12h or P90D")
    if not timedelta(0) < duration <= _LONGEST:
        raise ValueError(f"{text!r} is not above zero and at most a hundred years; write something like 90d")
    return duration


def _sum(text: str) -> timedelta:
    parts = _PART.findall(text)
    try:
        return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta(0))
    except OverflowError:
        return timedelta.max


def _iso(text: str) -> timedelta | None:
    """An ISO 8601 duration, and none of the other spellings that pydantic knows."""
    if not text.upper().startswith("P"):
        return None
    try:
        return _ISO.validate_python(text.upper())
    except ValidationError:
        return None


def _read(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_read)]
"""A pydantic field that takes a `timedelta` or a text."""
