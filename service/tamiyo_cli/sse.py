"""Server-sent events, as WHATWG's living standard has them read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Event(NamedTuple):
    """An event, or what was told between two events.

    Attributes:
        id: of the last event there was; to go on after it.
        type: of this event; empty with the data: something was told of the stream only.
        data: of this event.
        retry_seconds: how long to wait before coming back, where it was told.
    """

    id: str
    type: str
    data: str
    retry_seconds: float | None


def events(lines: Iterable[str], last_id: str) -> Iterator[Event]:
    """What a stream tells.

    Args:
        lines: of the stream, without their ends.
        last_id: where the stream begins.
    """
    kind, data, retry = "", list[str](), None
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            yield Event(last_id, kind or "message" if data else "", "\n".join(data), retry)
            kind, data, retry = "", [], None
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            last_id = value
        elif name == "retry" and value.isdecimal():
            retry = int(value) / 1000
