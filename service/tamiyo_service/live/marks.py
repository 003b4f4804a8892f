"""Marks: the ids of events, which name places in the journal and survive restarts and replicas.

::

    17.2.62f0c5e2a1b40     the third event of entry 17, which was stored at that moment (µs since 1970, hex)
    17                     everything up to entry 17

The moment tells an entry from one of the same number in another database.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_MARK: Final = re.compile(r"(\d{1,18})(?:\.(\d{1,6})\.([0-9a-f]{1,15}))?", re.ASCII)


class Mark(NamedTuple):
    """A place in the journal up to which everything is known."""

    number: int
    """Of an entry."""
    event: int | None = None
    """Of the last event known of it; None: all of them."""
    at: int | None = None
    """When it was stored; None: not said."""

    def __str__(self) -> str:
        if self.event is None or self.at is None:
            return str(self.number)
        return f"{self.number}.{self.event}.{self.at:x}"


def parse_mark(text: str) -> Mark | None:
    """The mark that a text stands for; None: it is none."""
    found = _MARK.fullmatch(text)
    if found is None:
        return None
    number, event, at = found.groups()
    if event is None:
        return Mark(int(number))
    return Mark(int(number), int(event), int(at, 16))
