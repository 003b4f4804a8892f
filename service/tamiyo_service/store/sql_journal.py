"""The journal of an SQL store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    func,
    literal_column,
    null,
    select,
)

from tamiyo_service.store.database import Database
from tamiyo_service.store.journal import JournalRow, Place, Stretch, Watched
from tamiyo_service.store.rows import Entry, InputKind, entry_of
from tamiyo_service.store.schema import journal, runs
from tamiyo_service.store.statements import is_present, is_report
from tamiyo_service.store.ways import by_itself

Answer = TypeVar("Answer")
_NOTHING: Final[ColumnElement[str]] = literal_column("''")
_NONE: Final = null()


class Read(Protocol):
    """Asks a question on a connection of a reader."""

    def __call__(self, question: Callable[[Connection], Answer]) -> Awaitable[Answer]:
        """The answer."""


class SqlJournal(Watched):
    """The journal of an SQL store. See `Journal` for the methods.

    Args:
        database: which one.
        read: asks a question on a connection of a reader.
    """

    def __init__(self, database: Database, read: Read) -> None:
        super().__init__()
        self._database = database
        self._read = read

    async def settled(self) -> int:
        """Where the journal ends."""
        return await self._read(self._database.settled_below)

    async def stretch(self, first: int, limit: int) -> Stretch:
        """Entries of all runs."""

        def read(connection: Connection) -> Stretch:
            settled = max(first, self._database.settled_below(connection))
            wanted = _told().where(journal.c.id >= first, journal.c.id < settled)
            rows = connection.execute(wanted.order_by(journal.c.id).limit(limit)).all()
            if len(rows) < limit:
                return Stretch(_named(connection, rows), settled)
            return Stretch(_named(connection, rows), rows[-1].id + 1, complete=False)

        return await self._read(read)

    async def stretch_of_run(self, run_pk: int, first: int, after_seq: int, limit: int) -> Stretch:
        """Entries of one run."""

        def read(connection: Connection) -> Stretch:
            # Within a run numbers rise with the inputs' own, and along these there is an index.
            wanted = _told().where(journal.c.run_pk == run_pk, journal.c.seq > after_seq)
            wanted = wanted.where(by_itself(journal.c.id) >= first)
            rows = connection.execute(wanted.order_by(journal.c.seq).limit(limit)).all()
            if not rows:
                return Stretch([], first, after_seq)
            last = rows[-1]
            return Stretch(_named(connection, rows), last.id + 1, last.seq, len(rows) < limit)

        return await self._read(read)

    async def place(self, number: int) -> Place | None:
        """Where an entry stands."""
        asked = select(journal.c.run_pk, journal.c.at).where(journal.c.id == number)
        row = await self._read(lambda connection: connection.execute(asked).first())
        return None if row is None else Place(*row)

    async def first(self) -> int | None:
        """The oldest entry."""
        oldest = select(func.min(journal.c.id))
        return await self._read(lambda connection: connection.execute(oldest).scalar())

    async def inputs(self, run_pk: int, kind: InputKind, before_seq: int | None, limit: int) -> list[Entry]:
        """Inputs of one kind, the latest first."""
        # Reports have an epoch: the index of epochs leads to what is none.
        of_kind = (journal.c.epoch.is_(None), by_itself(journal.c.kind) == kind.value)
        wanted = _entries(journal.c.payload).where(journal.c.run_pk == run_pk, *of_kind)
        if before_seq is not None:
            wanted = wanted.where(by_itself(journal.c.seq) < before_seq)
        return await self._listed(wanted.order_by(journal.c.seq.desc()).limit(limit))

    async def reports(self, run_pk: int, attempt: int, epochs: range, limit: int) -> list[Entry]:
        """Reports by epoch."""
        epoch = journal.c.epoch
        wanted = _entries(journal.c.payload, advice=journal.c.advice, override=journal.c.override)
        wanted = wanted.where(journal.c.run_pk == run_pk, journal.c.attempt == attempt)
        wanted = wanted.where(epoch >= epochs.start, epoch < epochs.stop)
        return await self._listed(wanted.order_by(epoch).limit(limit))

    async def picked(self, seqs: Mapping[int, Sequence[int]]) -> list[Entry]:
        """Single inputs of several runs."""
        if not seqs:
            return []
        # Written out: thousands of parameters take SQLAlchemy longer than all the rest.
        numbers = {int(run_pk): ", ".join(map(str, map(int, some))) for run_pk, some in seqs.items()}
        chosen = " OR ".join(f"(run_pk = {run_pk} AND seq IN ({some}))" for run_pk, some in numbers.items())
        return await self._listed(_entries(journal.c.payload).where(literal_column(f"({chosen})")))

    async def last_acting(self, run_pks: Sequence[int]) -> dict[int, Entry]:
        """The last decisions that were no WAIT."""
        if not run_pks:
            return {}
        acted = journal.alias()
        # The very words of the partial index that answers it.
        is_acting = acted.c.action != literal_column("'WAIT'")
        latest = select(func.max(acted.c.seq)).where(acted.c.run_pk == runs.c.run_pk, is_acting)
        is_last = and_(journal.c.run_pk == runs.c.run_pk, journal.c.seq == latest.scalar_subquery())
        wanted = _entries(_NOTHING).select_from(runs.join(journal, is_last))
        found = await self._listed(wanted.where(runs.c.run_pk.in_(run_pks)))
        return {entry.run_pk: entry for entry in found}

    async def turning_points(self, run_pk: int, seqs: range) -> list[Entry]:
        """Inputs in which something happened to a seed."""
        seed = journal.c.events.like('%"type":"SEED!_%', escape="!")
        asked = journal.c.events.like('%"type":"COMMAND!_ISSUED"%', escape="!")
        rewound = journal.c.kind == InputKind.REWIND.value
        wanted = _entries(case((rewound, journal.c.payload), else_=_NOTHING))
        seq = journal.c.seq
        wanted = wanted.where(journal.c.run_pk == run_pk, seq >= seqs.start, seq < seqs.stop)
        return await self._listed(wanted.where(seed | asked | rewound).order_by(seq))

    async def _listed(self, wanted: Select[Any]) -> list[Entry]:
        rows = await self._read(lambda connection: connection.execute(wanted).all())
        return [entry_of(row) for row in rows]


def _entries(payload: Any, *more: Any, advice: Any = _NONE, override: Any = _NONE) -> Select[Any]:
    """Entries without the states after them, and what comes before their columns."""
    instead = {"payload": payload, "state": _NOTHING, "advice": advice, "override": override}
    columns = (instead[name].label(name) if name in instead else journal.c[name] for name in Entry._fields)
    return select(*more, *columns)


def _told() -> Select[Any]:
    """What a `JournalRow` is made of."""
    return _entries(case((is_report(), _NOTHING), else_=journal.c.payload), journal.c.id)


def _named(connection: Connection, rows: Sequence[Row[Any]]) -> list[JournalRow]:
    """The rows with their runs' ids, without those of runs that are gone."""
    run_pks = sorted({row.run_pk for row in rows})
    if not run_pks:
        return []
    named = select(runs.c.run_pk, runs.c.run_id).where(runs.c.run_pk.in_(run_pks), is_present())
    names = {row.run_pk: row.run_id for row in connection.execute(named)}
    return [JournalRow(row.id, names[row.run_pk], entry_of(row[1:])) for row in rows if row.run_pk in names]
