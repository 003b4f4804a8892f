"""What an entry of the journal has to tell: its events, ready for the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from fastapi.sse import format_sse_event
from tamiyo_leyline import TelemetryEventType

from tamiyo_service.clock import from_micros
from tamiyo_service.live.marks import Mark
from tamiyo_service.runs.history import item_json
from tamiyo_service.store.journal import JournalRow
from tamiyo_service.store.rows import InputKind, OutcomeRow, Rewind

DECISION: Final = "decision"
_UNTOLD: Final = frozenset({InputKind.REPORT, InputKind.PRUNE})
TYPES: Final = (
    DECISION,
    *(kind.value for kind in TelemetryEventType),
    *(kind.value for kind in InputKind if kind not in _UNTOLD),
)
"""Every type an event may have, but those that tell of the stream itself."""


class Happening(NamedTuple):
    """An event of a run."""

    mark: Mark
    run_pk: int
    run_id: str
    labels: Mapping[str, str]
    type: str
    frame: bytes
    """As it travels."""


def happenings_of(
    row: JournalRow, labels: Mapping[str, str], rewinds: Sequence[Rewind], outcomes: Sequence[OutcomeRow]
) -> Iterator[Happening]:
    """The events of an entry: of a report the telemetry in its order, then the decision.

    Args:
        row: the entry.
        labels: of its run.
        rewinds: of its run.
        outcomes: of its commands.
    """
    entry = row.entry
    for index, (kind, data) in enumerate(_told(row, rewinds, outcomes)):
        mark = Mark(row.number, index, entry.at)
        yield Happening(mark, entry.run_pk, row.run_id, labels, kind, _frame(row, mark, kind, data))


def _told(
    row: JournalRow, rewinds: Sequence[Rewind], outcomes: Sequence[OutcomeRow]
) -> Iterator[tuple[str, bytes]]:
    entry = row.entry
    telemetry: list[dict[str, Any]] = orjson.loads(entry.events) if entry.events else []
    for event in telemetry:
        yield event["type"], orjson.dumps(event)
    if entry.kind is InputKind.REPORT:
        yield DECISION, item_json(entry, rewinds, outcomes).encode()
    elif entry.kind not in _UNTOLD:
        yield entry.kind.value, entry.payload.encode()


def _frame(row: JournalRow, mark: Mark, kind: str, data: bytes) -> bytes:
    entry = row.entry
    head = orjson.dumps(
        {
            "id": str(mark),
            "type": kind,
            "run_id": row.run_id,
            "attempt": entry.attempt,
            "epoch": entry.epoch,
            "at": from_micros(entry.at),
        },
        option=orjson.OPT_UTC_Z,
    )
    text = (head[:-1] + b',"data":' + data + b"}").decode()
    return format_sse_event(data_str=text, event=kind, id=str(mark))
