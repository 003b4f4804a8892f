"""What operators say of a run: notes and labels. They are inputs of it like others, and decide nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import orjson
from tamiyo_leyline.api import LabelsRequest, NoteRequest, NoteView

from tamiyo_service.clock import Clock, from_micros
from tamiyo_service.runs.change import Change
from tamiyo_service.runs.desk import Desk
from tamiyo_service.runs.inputs import input_entry
from tamiyo_service.runs.session import Session, Standing
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import Entry, Found, InputKind, LabelsRow, Write


class Remarks:
    """Notes and labels of runs; every method may raise `UnavailableError` and then has changed nothing.

    Args:
        store: where they are.
        desk: where changes are handed in.
        clock: tells when something is said.
    """

    def __init__(self, store: Store, desk: Desk, clock: Clock) -> None:
        self._store = store
        self._desk = desk
        self._clock = clock

    async def note(self, run_id: str, request: NoteRequest) -> NoteView:
        """Add a note; a completed run takes it too.

        Raises:
            RunNotFoundError: if there is no such run.
        """
        return await self._desk.change(run_id, partial(self._noted, request))

    async def notes(self, run_pk: int, before_seq: int | None, limit: int) -> Found[NoteView]:
        """At most `limit` notes of a run, the latest first.

        Args:
            run_pk: the run.
            before_seq: where the page before ended.
            limit: size of the page.
        """
        found = await self._store.journal.inputs(run_pk, InputKind.NOTE, before_seq, limit + 1)
        more = len(found) > limit
        return Found([_view(entry) for entry in found[:limit]], (found[limit - 1].seq,) if more else None)

    async def label(self, run_id: str, request: LabelsRequest) -> None:
        """Give a run these labels instead of those it has; the configuration it was created with stays.

        Raises:
            RunNotFoundError: if there is no such run.
        """
        await self._desk.change(run_id, partial(self._labelled, request))

    async def _noted(self, request: NoteRequest, session: Session) -> Change[NoteView]:
        last_epoch = session.standing.last_epoch
        content = {"text": request.text, "by": request.by, "last_epoch": last_epoch}
        after, entry = self._entry(session, InputKind.NOTE, content)
        return Change(after, Write((entry,)), _view(entry))

    async def _labelled(self, request: LabelsRequest, session: Session) -> Change[None]:
        labels = (await self._store.labels([session.run_pk]))[session.run_pk]
        if labels == request.labels:
            return Change(session.standing, None, None)
        content = {"labels": request.labels, "before": labels, "by": request.by}
        after, entry = self._entry(session, InputKind.LABELS, content)
        row = LabelsRow(session.run_pk, tuple(request.labels.items()))
        return Change(after, Write((entry,), labels=row), None)

    def _entry(
        self, session: Session, kind: InputKind, content: Mapping[str, object]
    ) -> tuple[Standing, Entry]:
        after = session.standing._replace(seq=session.standing.seq + 1)
        payload = orjson.dumps(content).decode()
        return after, input_entry(session, after, kind, payload, self._clock())


def _view(entry: Entry) -> NoteView:
    content = orjson.loads(entry.payload)
    return NoteView(
        note_id=entry.seq,
        at=from_micros(entry.at),
        text=content["text"],
        by=content["by"],
        attempt=entry.attempt,
        last_epoch=content["last_epoch"],
    )
