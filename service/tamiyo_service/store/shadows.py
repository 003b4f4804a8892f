"""What a store keeps of shadow policies: their decisions, and how far along the journal they have come.

The runs are dealt out to a fixed number of shares. Who decides for a share holds it for a while, so that
several processes divide the work between them, and none is done twice while all is well; when it is, the
rows' key lets the second copy fall. A share's position and the rows that led there are written together.
"""
# ruff: noqa: D102 - the methods are described once, by ShadowStore

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import Connection, Select, and_, or_, select, update

from tamiyo_service.store.database import Database
from tamiyo_service.store.rows import Entry, entry_of
from tamiyo_service.store.schema import journal, runs, shadow_decisions, shadow_shares
from tamiyo_service.store.statements import is_present

SHARES: Final = 8
"""As many processes may decide at the same time."""
_ROWS_AT_ONCE: Final = 32
_ENTRY: Final = [column for column in journal.columns if column.name != "id"]
_ROW: Final = [column for column in shadow_decisions.columns if column.name != "id"]


class ShadowRow(NamedTuple):
    """What another policy would have decided about a report.

    The order of the fields is the order of the table's columns after its id.
    """

    run_pk: int
    seq: int
    """The report's number within its run."""
    policy: str
    version: str
    attempt: int
    epoch: int
    at: int
    agrees: bool
    """Whether its commands are those of the reply."""
    action: str
    """Its first action."""
    sha256: str | None
    commands: str
    """JSON list of AdaptationCommand."""
    slots: str
    """JSON list of SlotDecision."""
    state: str
    """Snapshot of the policy's state after it, as JSON."""


class Share(NamedTuple):
    """A part of all runs."""

    number: int
    position: int
    """Everything in the journal up to this id has been looked at."""


class Followed(NamedTuple):
    """A report that shadow policies may decide about."""

    position: int
    run_id: str
    config: str
    """RunConfig of its run, as JSON."""
    entry: Entry
    before: Entry | None
    """The input just before it."""


class Chosen(NamedTuple):
    """A shadow policy's decisions about one run."""

    run_pk: int
    policy: str
    version: str


class ShadowStore(Protocol):
    """Keeps what shadow policies decide. Every method may raise `StoreUnavailableError`."""

    async def begin(self) -> None:
        """Have shares: where there are none, they begin with the next entry of the journal."""

    async def take(self, holder: str, now: int, until: int) -> list[Share]:
        """Half of the free shares that have something to do, those that are farthest behind first.

        What the taker itself still holds counts as free.

        Args:
            holder: unique name of the taker.
            now: the present moment, in microseconds since 1970.
            until: when they are free again if they were not put back.
        """

    async def settled(self) -> int:
        """Everything in the journal with a lower id can be seen."""

    async def follow(self, share: Share, until: int, limit: int) -> list[Followed]:
        """The first reports of a share after its position, with ids below `until`."""

    async def put(self, holder: str, shares: Sequence[Share], rows: Sequence[ShadowRow]) -> int:
        """Add rows and put shares back at their new positions, all or nothing.

        A row that is there stays as it is, and one of a run that is gone is left out.

        Returns:
            How many rows were new.
        """

    async def of_report(self, run_pk: int, seq: int) -> list[ShadowRow]:
        """What was decided about a report, by policy and version."""

    async def latest(self, chosen: Sequence[Chosen]) -> dict[Chosen, ShadowRow]:
        """The last decision about each of these runs; runs without any are absent."""

    async def decided(self, chosen: Chosen, seq: int) -> ShadowRow | None:
        """The decision about one report."""


class SqlShadows:
    """See `ShadowStore`.

    Args:
        database: where it is.
        read: asks a question of it.
        do: carries a job out.
    """

    def __init__(
        self,
        database: Database,
        read: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
        do: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
    ) -> None:
        self._database = database
        self._read = read
        self._do = do

    async def begin(self) -> None:
        if await self._read(_has_shares):
            return
        settled = await self.settled()
        await self._do(partial(_begin, self._database, position=settled - 1))

    async def take(self, holder: str, now: int, until: int) -> list[Share]:
        # Mostly there are no shares, or nothing to do: no write is spent on finding that out.
        if not await self._read(_has_shares):
            return []
        wanted = partial(_free, holder=holder, now=now, settled=await self.settled())
        if not await self._read(wanted):
            return []
        taken: list[Share] = await self._do(partial(_take, holder, until, wanted))
        return taken

    async def settled(self) -> int:
        settled: int = await self._read(self._database.settled_below)
        return settled

    async def follow(self, share: Share, until: int, limit: int) -> list[Followed]:
        found: list[Followed] = await self._read(lambda connection: _follow(connection, share, until, limit))
        return found

    async def put(self, holder: str, shares: Sequence[Share], rows: Sequence[ShadowRow]) -> int:
        added: int = await self._do(lambda connection: _put(connection, holder, shares, rows))
        return added

    async def of_report(self, run_pk: int, seq: int) -> list[ShadowRow]:
        wanted = select(*_ROW).where(shadow_decisions.c.run_pk == run_pk, shadow_decisions.c.seq == seq)
        return await self._rows(wanted.order_by(shadow_decisions.c.policy, shadow_decisions.c.version))

    async def latest(self, chosen: Sequence[Chosen]) -> dict[Chosen, ShadowRow]:
        def read(connection: Connection) -> list[Any]:
            return [row for one in chosen for row in connection.execute(_last(one).limit(1))]

        rows = [ShadowRow(*row) for row in await self._read(read)]
        return {Chosen(row.run_pk, row.policy, row.version): row for row in rows}

    async def decided(self, chosen: Chosen, seq: int) -> ShadowRow | None:
        rows = await self._rows(_last(chosen).where(shadow_decisions.c.seq == seq))
        return rows[0] if rows else None

    async def _rows(self, statement: Any) -> list[ShadowRow]:
        rows = await self._read(lambda connection: list(connection.execute(statement)))
        return [ShadowRow(*row) for row in rows]


def _has_shares(connection: Connection) -> bool:
    return connection.execute(select(shadow_shares.c.share).limit(1)).first() is not None


def _begin(database: Database, connection: Connection, position: int) -> None:
    for number in range(SHARES):
        row = {"share": number, "position": position, "holder": None, "held_until": 0}
        connection.execute(database.insert_if_absent(shadow_shares).values(row))


def _free(connection: Connection, *, holder: str, now: int, settled: int) -> list[Share]:
    column = shadow_shares.c
    behind = column.position < settled - 1
    free = or_(column.holder.is_(None), column.holder == holder, column.held_until < now)
    wanted = select(column.share, column.position).where(behind, free).order_by(column.position, column.share)
    return [Share(*row) for row in connection.execute(wanted.with_for_update(skip_locked=True))]


def _take(
    holder: str, until: int, free: Callable[[Connection], list[Share]], connection: Connection
) -> list[Share]:
    shares = free(connection)
    taken = shares[: (len(shares) + 1) // 2]
    numbers = [share.number for share in taken]
    held = update(shadow_shares).where(shadow_shares.c.share.in_(numbers))
    connection.execute(held.values(holder=holder, held_until=until))
    return taken


def _follow(connection: Connection, share: Share, until: int, limit: int) -> list[Followed]:
    entry, before = journal, journal.alias("before")
    is_before = and_(before.c.run_pk == entry.c.run_pk, before.c.seq == entry.c.seq - 1)
    source = entry.join(runs, runs.c.run_pk == entry.c.run_pk).outerjoin(before, is_before)
    columns = [before.c[column.name] for column in _ENTRY]
    wanted = (
        select(entry.c.id, runs.c.run_id, runs.c.config, *_ENTRY, *columns)
        .select_from(source)
        .where(entry.c.id > share.position, entry.c.id < until, entry.c.epoch.is_not(None))
        .where(entry.c.run_pk % SHARES == share.number, is_present())
        .order_by(entry.c.id)
        .limit(limit)
    )
    width = 3 + len(_ENTRY)
    found = []
    for row in map(tuple, connection.execute(wanted)):
        position, run_id, config = row[:3]
        earlier = None if row[width] is None else entry_of(row[width:])
        found.append(Followed(position, run_id, config, entry_of(row[3:width]), earlier))
    return found


def _last(chosen: Chosen) -> Select[Any]:
    column = shadow_decisions.c
    wanted = select(*_ROW).where(column.run_pk == chosen.run_pk, column.policy == chosen.policy)
    return wanted.where(column.version == chosen.version).order_by(column.seq.desc())


def _put(connection: Connection, holder: str, shares: Sequence[Share], rows: Sequence[ShadowRow]) -> int:
    added = _add(connection, rows)
    for share in shares:
        mine = update(shadow_shares).where(
            shadow_shares.c.share == share.number, shadow_shares.c.holder == holder
        )
        connection.execute(mine.values(position=share.position, holder=None, held_until=0))
    return added


def _add(connection: Connection, rows: Sequence[ShadowRow]) -> int:
    """Insert what is not there, of runs that are; how many rows."""
    if not rows:
        return 0
    wanted = select(runs.c.run_pk).where(runs.c.run_pk.in_({row.run_pk for row in rows}))
    # Locked on PostgreSQL, so that none goes before its rows are there.
    present = set(connection.execute(wanted.with_for_update(read=True, key_share=True)).scalars())
    kept = [row for row in rows if row.run_pk in present]
    added = 0
    for start in range(0, len(kept), _ROWS_AT_ONCE):
        chunk = kept[start : start + _ROWS_AT_ONCE]
        statement = _insert_statement(len(chunk), "?" if connection.dialect.name == "sqlite" else "%s")
        added += connection.exec_driver_sql(statement, tuple(itertools.chain.from_iterable(chunk))).rowcount
    return added


@lru_cache(maxsize=2 * _ROWS_AT_ONCE)
def _insert_statement(count: int, mark: str) -> str:
    names = ", ".join(column.name for column in _ROW)
    row = f"({', '.join([mark] * len(_ROW))})"
    insert = f"INSERT INTO {shadow_decisions.name} ({names}) VALUES {', '.join([row] * count)}"
    return f"{insert} ON CONFLICT DO NOTHING"
