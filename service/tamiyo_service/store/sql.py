"""The store on SQL: reads on a few threads, writes through the group-commit writer."""
# ruff: noqa: D102 - the methods are described once, by Store

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, Select, delete, insert, text, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from tamiyo_leyline import RunStatus

from tamiyo_service.errors import (
    InvalidRequestError,
    StoreUnavailableError,
    TamiyoError,
    VersionConflictError,
)
from tamiyo_service.store import listing, retention, statements
from tamiyo_service.store.checkpointer import Checkpointer
from tamiyo_service.store.dialect import (
    ALONE_ROWS,
    PATIENCE_SECONDS,
    READ_CONNECTIONS,
    Database,
    insert_alone,
    insert_if_absent,
    insert_rows,
)
from tamiyo_service.store.expired import Belonging, Cutoffs, Expired, ExpiredPage, Retired
from tamiyo_service.store.migrate import prepare
from tamiyo_service.store.overviews import overviews
from tamiyo_service.store.protocol import Ended
from tamiyo_service.store.rows import (
    ClientDecisionRow,
    DecisionFilter,
    DecisionKey,
    DecisionRow,
    Entry,
    Found,
    InputKind,
    NewRun,
    OutcomeRow,
    Overview,
    Rewind,
    RunFilter,
    RunRow,
    Write,
    rewind_of,
)
from tamiyo_service.store.schema import client_decisions, command_outcomes, journal, run_labels, runs
from tamiyo_service.store.writer import GroupWriter

Answer = TypeVar("Answer")
Job = Callable[[Connection], Any]

_FAILURE_SHOWS_SECONDS: Final = 5.0
"""How long a failed write keeps `check` from passing, unless a later one succeeds."""


class SqlStore:
    """Keeps runs in an SQL database. See `Store` for the methods.

    Args:
        url: an SQLAlchemy URL.
        write_limit: writes that may wait for the disk.
        patience: seconds a write waits while another process writes.

    Raises:
        DatabaseUrlError: if the URL cannot be used.
    """

    def __init__(self, url: str, *, write_limit: int = 10_000, patience: float = PATIENCE_SECONDS) -> None:
        self._database = Database(url, patience=patience)
        self._writer: GroupWriter[Write | Job] = GroupWriter(self._execute, _translate, write_limit)
        self._readers = ThreadPoolExecutor(READ_CONNECTIONS, thread_name_prefix="tamiyo-reader")
        self._checkpointer = Checkpointer(self._database)
        self._connection: Connection | None = None

    async def open(self) -> None:
        await asyncio.to_thread(prepare, self._database)
        self._checkpointer.start()
        self._writer.start()

    async def close(self) -> None:
        await self._writer.close()
        await asyncio.to_thread(self._release)

    async def check(self) -> None:
        failed = self._writer.since_failure()
        if failed is not None and failed < _FAILURE_SHOWS_SECONDS:
            raise StoreUnavailableError("the last write failed; free the disk or mend the database")
        await self._read(lambda connection: connection.execute(text("SELECT 1")).one())

    def write_age(self) -> float:
        return self._writer.age()

    def append(self, write: Write, ended: Ended) -> asyncio.Future[None]:
        return self._writer.submit(write, ended)

    async def create_run(self, run: NewRun) -> tuple[RunRow, bool]:
        created: tuple[RunRow, bool] = await self._do(lambda connection: _create(connection, run))
        return created

    async def delete_run(self, run_pk: int) -> None:
        await self._do(lambda connection: connection.execute(delete(runs).where(runs.c.run_pk == run_pk)))

    async def run(self, run_id: str) -> RunRow | None:
        row = await self._first(statements.run_named(run_id))
        return None if row is None else _run(row)

    async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
        def read(connection: Connection) -> tuple[RunRow, Entry | None] | None:
            row = connection.execute(statements.run_named(run_id)).first()
            if row is None:
                return None
            last = connection.execute(statements.last_entry(row.run_pk)).first()
            return _run(row), _optional_entry(last)

        return await self._read(read)

    async def version(self, run_pk: int) -> int | None:
        row = await self._first(statements.version(run_pk))
        return None if row is None else int(row[0])

    async def entry_before(self, run_pk: int, seq: int) -> Entry | None:
        return _optional_entry(await self._first(statements.entry_before(run_pk, seq)))

    async def report(self, key: DecisionKey) -> Entry | None:
        return _optional_entry(await self._first(statements.report(key)))

    async def latest_report(self, run_pk: int, epoch: int) -> Entry | None:
        return _optional_entry(await self._first(statements.latest_report(run_pk, epoch)))

    async def report_up_to(self, run_pk: int, attempt: int, epoch: int) -> Entry | None:
        return _optional_entry(await self._first(statements.report_up_to(run_pk, attempt, epoch)))

    async def rewinds(self, run_pks: Sequence[int]) -> dict[int, tuple[Rewind, ...]]:
        rows = await self._all(statements.rewinds(run_pks))
        found: dict[int, tuple[Rewind, ...]] = {}
        for row in rows:
            run_pk, attempt, payload = tuple(row)
            found[run_pk] = (*found.get(run_pk, ()), rewind_of(attempt, payload))
        return found

    async def decisions(self, wanted: DecisionFilter, limit: int) -> Found[DecisionRow]:
        return await self._read(lambda connection: listing.decisions(connection, wanted, limit))

    async def outcomes(self, keys: Sequence[DecisionKey]) -> dict[DecisionKey, tuple[OutcomeRow, ...]]:
        if not keys:
            return {}
        found: dict[DecisionKey, tuple[OutcomeRow, ...]] = {}
        for row in map(OutcomeRow._make, await self._all(statements.outcomes(keys))):
            key = DecisionKey(row.run_pk, row.attempt, row.epoch)
            found[key] = (*found.get(key, ()), row)
        return found

    async def runs(self, wanted: RunFilter, limit: int) -> Found[RunRow]:
        return await self._read(lambda connection: listing.list_runs(connection, wanted, limit))

    async def overviews(self, run_pks: Sequence[int]) -> dict[int, Overview]:
        return await self._read(lambda connection: overviews(connection, run_pks))

    async def add_client_decisions(self, rows: Sequence[ClientDecisionRow]) -> int:
        recorded: int = await self._do(lambda connection: _record(connection, rows))
        return recorded

    async def expired(self, cutoffs: Cutoffs, after: int, limit: int) -> ExpiredPage:
        return await self._read(lambda connection: retention.expired(connection, cutoffs, after, limit))

    async def retire(self, runs: Sequence[Expired], at: int, *, to_archive: bool) -> list[Expired]:
        def take_out(connection: Connection) -> list[Expired]:
            return [run for run in runs if retention.retire(connection, run, at, to_archive=to_archive)]

        taken: list[Expired] = await self._do(take_out)
        return taken

    async def retired(self, before: int, limit: int) -> list[Retired]:
        return await self._read(lambda connection: retention.retired(connection, before, limit))

    async def erase(self, run_pk: int, rows: int) -> int:
        erased: int = await self._do(lambda connection: retention.erase(connection, run_pk, rows))
        self._checkpointer.changed(erased)
        return erased

    async def belongings(
        self, kind: type[Belonging], run_pk: int, after: int, limit: int
    ) -> list[tuple[int, Belonging]]:
        return await self._read(
            lambda connection: retention.belongings(connection, kind, run_pk, after, limit)
        )

    def _release(self) -> None:
        self._checkpointer.close()
        self._readers.shutdown()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._database.dispose()

    def _execute(self, tasks: Sequence[Write | Job]) -> Sequence[Any]:
        """Everything in one transaction, rows of many requests in one statement; in the writer's thread."""
        if self._connection is None:
            self._connection = self._database.writer.connect()
        connection = self._connection
        writes = [task for task in tasks if isinstance(task, Write)]
        entries = list(itertools.chain.from_iterable(write.entries for write in writes))
        if len(entries) <= ALONE_ROWS and len(writes) == len(tasks) and not any(map(_has_more, writes)):
            insert_alone(connection, journal, entries)
            results: list[Any] = [None] * len(tasks)
        else:
            with connection.begin():
                _append(connection, entries, writes)
                results = [None if isinstance(task, Write) else task(connection) for task in tasks]
        self._checkpointer.wrote(connection, len(entries))
        return results

    async def _do(self, job: Job) -> Any:
        """What the job returns; it is finished even if the caller is cancelled."""
        return await asyncio.shield(self._writer.submit(job))

    async def _first(self, statement: Select[Any]) -> Row[Any] | None:
        return await self._read(lambda connection: connection.execute(statement).first())

    async def _all(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        return await self._read(lambda connection: connection.execute(statement).all())

    async def _read(self, question: Callable[[Connection], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._ask, question)

    def _ask(self, question: Callable[[Connection], Answer]) -> Answer:
        try:
            with self._database.readers.connect() as connection:
                return question(connection)
        except SQLAlchemyError as error:
            raise StoreUnavailableError(f"the database does not answer: {error}") from error
        except OverflowError as error:
            raise InvalidRequestError(
                f"the store has no number as large as the one asked for: {error}"
            ) from error


def _has_more(write: Write) -> bool:
    """Whether a write concerns more tables than the journal."""
    return bool(write.outcomes) or write.status is not None


def _append(connection: Connection, entries: Sequence[Entry], writes: Sequence[Write]) -> None:
    insert_rows(connection, journal, entries)
    outcomes = list(itertools.chain.from_iterable(write.outcomes for write in writes))
    insert_rows(connection, command_outcomes, outcomes)
    for status in (write.status for write in writes if write.status is not None):
        changed = update(runs).where(runs.c.run_pk == status.run_pk)
        connection.execute(changed.values(status=status.status, result=status.result))


def _create(connection: Connection, run: NewRun) -> tuple[RunRow, bool]:
    values = run._asdict() | {"status": RunStatus.ACTIVE}
    labels = values.pop("labels")
    statement = insert_if_absent(runs).values(values).returning(runs.c.run_pk)
    run_pk = connection.execute(statement).scalar()
    if run_pk is not None and labels:
        rows = [{"run_pk": run_pk, "key": key, "value": value} for key, value in labels]
        connection.execute(insert(run_labels), rows)
    row = connection.execute(statements.run_named(run.run_id)).one()
    return _run(row), run_pk is not None


def _record(connection: Connection, rows: Sequence[ClientDecisionRow]) -> int:
    statement = insert_if_absent(client_decisions)
    return sum(connection.execute(statement.values(row._asdict())).rowcount for row in rows)


def _translate(error: Exception) -> TamiyoError:
    if isinstance(error, IntegrityError):
        return VersionConflictError(f"the run was advanced by another process: {error.orig}")
    if isinstance(error, SQLAlchemyError):
        return StoreUnavailableError("the store did not take the write; send the request again later")
    return InvalidRequestError(f"the store cannot hold this: {error}")


def _run(row: Row[Any]) -> RunRow:
    return RunRow._make(row)._replace(status=RunStatus(row.status))


def _optional_entry(row: Row[Any] | None) -> Entry | None:
    return None if row is None else _entry(row)


def _entry(row: Sequence[Any]) -> Entry:
    entry = Entry._make(row)
    return entry._replace(kind=InputKind(entry.kind))
