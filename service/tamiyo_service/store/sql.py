"""The store on SQL: reads on a few threads, writes through the group-commit writer."""
# ruff: noqa: D102 - the methods are described once, by Store

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Connection, Row, Select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.sql.dml import ReturningInsert
from tamiyo_leyline import RunStatus

from tamiyo_service.errors import (
    InvalidRequestError,
    StoreUnavailableError,
    TamiyoError,
    VersionConflictError,
)
from tamiyo_service.observability.sparing import Sparing
from tamiyo_service.observability.tallies import StoreTally
from tamiyo_service.store import listing, retention, statements
from tamiyo_service.store.checkpointer import checkpointer_of
from tamiyo_service.store.database import DatabaseLostError
from tamiyo_service.store.dialect import (
    PATIENCE_SECONDS,
    READ_CONNECTIONS,
    Database,
    database_at,
)
from tamiyo_service.store.expired import Belonging, Cutoffs, Expired, ExpiredPage, Retired
from tamiyo_service.store.keys import KeyStore, SqlKeys
from tamiyo_service.store.migrate import prepare
from tamiyo_service.store.models import ModelStore, SqlModels
from tamiyo_service.store.outage import Outage
from tamiyo_service.store.overviews import overviews
from tamiyo_service.store.protocol import Ended
from tamiyo_service.store.rows import (
    ClientDecisionRow,
    DecisionFilter,
    DecisionKey,
    DecisionRow,
    Entry,
    Found,
    NewRun,
    OutcomeRow,
    Overview,
    Rewind,
    RunFilter,
    RunRow,
    Write,
    entry_of,
    rewind_of,
    run_of,
)
from tamiyo_service.store.schema import client_decisions, runs
from tamiyo_service.store.shadows import ShadowStore, SqlShadows
from tamiyo_service.store.sql_journal import SqlJournal
from tamiyo_service.store.transactions import Job, Task, Transactions, insert_labels
from tamiyo_service.store.trial import try_to_write
from tamiyo_service.store.writer import GroupWriter

Answer = TypeVar("Answer")

_TRIAL_SECONDS: Final = 1.0
"""Between two writes that `check` tries after one has failed."""
_LOG_SECONDS: Final = 1.0
"""Between two entries of the log about questions that were not answered."""
_FAILING: Final = (
    "the last write failed, and none has succeeded since: free the disk or mend the database; "
    "the service's log says why"
)
_LOST: Final = (
    "the database's file was removed or replaced: put it back, or start the service anew; "
    "the service's log says which"
)
_LOG: Final = structlog.get_logger(__name__)
_READ_ONLY: Final = "the database takes no writes: its server is a standby, or set to read-only"


class SqlStore:
    """Keeps runs in an SQL database. See `Store` for the methods.

    Args:
        url: an SQLAlchemy URL.
        write_limit: rows that may wait for the disk.
        patience: seconds that reads and writes wait for other processes, and for a server that is away.
        swift_writes: whether the event loop may write small groups while the disk is quick.

    Raises:
        DatabaseUrlError: if the URL cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        write_limit: int = 10_000,
        patience: float = PATIENCE_SECONDS,
        swift_writes: bool = True,
    ) -> None:
        self._database = database_at(url, patience=patience)
        self._outage = Outage(patience)
        self.tally = StoreTally()
        self._checkpointer = checkpointer_of(self._database)
        # One of its own: a server may answer questions and take no writes.
        self._transactions = Transactions(self._database, Outage(patience), self._checkpointer, self.tally)
        swift = self._transactions.execute_at_once if swift_writes else None
        self._writer: GroupWriter[Task] = GroupWriter(
            self._transactions.execute, _translate, write_limit, swift, tally=self.tally
        )
        self._trial: asyncio.Future[Any] | None = None
        self._tried_at = -math.inf
        self._sparing = Sparing(_LOG_SECONDS)
        self._readers = ThreadPoolExecutor(READ_CONNECTIONS, thread_name_prefix="tamiyo-reader")
        self.models: ModelStore = SqlModels(self._database, self._read, self._do)
        self.shadows: ShadowStore = SqlShadows(self._database, self._read, self._do)
        self.keys: KeyStore = SqlKeys(self._read, self._do)
        self._run_insertion = self._database.insert_if_absent(runs).returning(runs.c.run_pk)
        self.journal: Final = SqlJournal(self._database, self._read)

    async def open(self) -> None:
        await asyncio.to_thread(prepare, self._database)
        await asyncio.to_thread(self._database.note_place)
        if self._checkpointer is not None:
            self._checkpointer.start()
        self._writer.start()

    async def close(self) -> None:
        await self._writer.close()
        await asyncio.to_thread(self._release)

    async def check(self) -> None:
        def takes_no_writes(connection: Connection) -> bool:
            self._database.require_same_place()
            return self._database.is_read_only(connection)

        if await self._read(takes_no_writes, patient=False):
            raise StoreUnavailableError(_READ_ONLY)
        if self._writer.failing():
            await self._try_to_write()

    def write_age(self) -> float:
        return self._writer.age()

    def writes_waiting(self) -> int:
        return self._writer.pending

    def append(
        self, write: Write, ended: Ended, waiter: asyncio.Future[None] | None = None
    ) -> asyncio.Future[None]:
        return self._writer.submit(write, self.journal.telling(ended), rows=len(write.entries), waiter=waiter)

    async def create_run(self, run: NewRun) -> tuple[RunRow, bool]:
        created: tuple[RunRow, bool] = await self._do(partial(_create, self._run_insertion, run=run))
        return created

    async def delete_run(self, run_pk: int, at: int) -> bool:
        left: bool = await self._do(lambda connection: retention.remove(connection, run_pk, at))
        return left

    async def run(self, run_id: str) -> RunRow | None:
        row = await self._read(partial(statements.run_named, run_id=run_id))
        return None if row is None else run_of(row)

    async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
        def read(connection: Connection) -> tuple[RunRow, Entry | None] | None:
            # The run last: if another process changes it in between, the input's number is the older one, and
            # what is written after that is refused.
            last = statements.last_entry_named(connection, run_id)
            row = statements.run_named(connection, run_id)
            if row is None:
                return None
            made_anew = last is not None and last.run_pk != row.run_pk
            return run_of(row), None if made_anew else _optional_entry(last)

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
        def read(connection: Connection) -> Found[DecisionRow]:
            forward = wanted.ascending and wanted.run_pk is None
            settled = self._database.settled_below(connection) if forward else None
            return listing.decisions(connection, wanted, limit, settled)

        return await self._read(read)

    async def decisions_below(self, wanted: DecisionFilter, limit: int, below: int) -> Found[DecisionRow]:
        return await self._read(lambda connection: listing.decisions_below(connection, wanted, limit, below))

    async def decision_counts(self, wanted: DecisionFilter) -> dict[str, int]:
        return await self._read(lambda connection: listing.decision_counts(connection, wanted))

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

    async def labels(self, run_pks: Sequence[int]) -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {run_pk: {} for run_pk in run_pks}
        for row in await self._all(statements.labels(run_pks)):
            found[row.run_pk][row.key] = row.value
        return found

    async def overviews(self, run_pks: Sequence[int]) -> dict[int, Overview]:
        return await self._read(lambda connection: overviews(connection, run_pks))

    async def add_client_decisions(self, rows: Sequence[ClientDecisionRow]) -> int | None:
        recorded: int | None = await self._do(partial(_record, self._database, rows=rows))
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
        if self._checkpointer is not None:
            self._checkpointer.changed(erased)
        return erased

    async def belongings(
        self, kind: type[Belonging], run_pk: int, after: int, limit: int
    ) -> list[tuple[int, Belonging]]:
        return await self._read(
            lambda connection: retention.belongings(connection, kind, run_pk, after, limit)
        )

    async def _try_to_write(self) -> None:
        """Return if a write has succeeded since the last failure.

        Raises:
            StoreUnavailableError: if not.
        """
        if self._trial is None and self._may_try():
            self._trial = self._writer.submit(try_to_write)
            self._trial.add_done_callback(self._tried)
        if self._trial is not None:
            # Whoever gives up waiting leaves it to the others.
            await asyncio.wait([self._trial])
        if self._writer.failing():
            raise StoreUnavailableError(_FAILING)

    def _may_try(self) -> bool:
        """Whether a trial is due, and nothing is on its way that tells as much."""
        return not self._writer.pending and time.monotonic() - self._tried_at >= _TRIAL_SECONDS

    def _tried(self, trial: asyncio.Future[Any]) -> None:
        self._trial = None
        self._tried_at = time.monotonic()
        # The writer has logged why it failed, if it did.
        trial.exception()

    def _release(self) -> None:
        if self._checkpointer is not None:
            self._checkpointer.close()
        self._readers.shutdown()
        self._transactions.close()
        self._database.dispose()

    async def _do(self, job: Job) -> Any:
        """What the job returns; it is finished even if the caller is cancelled."""
        return await asyncio.shield(self._writer.submit(job))

    async def _first(self, statement: Select[Any]) -> Row[Any] | None:
        return await self._read(lambda connection: connection.execute(statement).first())

    async def _all(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        return await self._read(lambda connection: connection.execute(statement).all())

    async def _read(self, question: Callable[[Connection], Answer], *, patient: bool = True) -> Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._ask, question, patient)

    def _ask(self, question: Callable[[Connection], Answer], patient: bool) -> Answer:
        for attempts in itertools.count(1):
            try:
                return self._answer(question)
            except DBAPIError as error:
                # A second attempt costs nothing: it is the connection that was lost, perhaps long ago.
                again = self._database.may_pass(error) and (patient or attempts == 1)
                if not (again and self._outage.pause(attempts)):
                    self.tally.failures["read"] += 1
                    raise self._read_error(error) from error
            except (SQLAlchemyError, OverflowError) as error:
                raise self._read_error(error) from error
        raise AssertionError("counting does not end")

    def _read_error(self, error: Exception) -> TamiyoError:
        """What a caller is told of an error. The database's own goes into the log: one a second, of many."""
        told = _translate_read(error)
        if isinstance(told, StoreUnavailableError) and self._sparing.due("read_failed") is not None:
            _LOG.error("read_failed", error=str(error))
        return told

    def _answer(self, question: Callable[[Connection], Answer]) -> Answer:
        with self._database.readers.connect() as connection:
            answer = question(connection)
        self._outage.end()
        return answer


def _create(insertion: ReturningInsert[Any], connection: Connection, run: NewRun) -> tuple[RunRow, bool]:
    values = run._asdict() | {"status": RunStatus.ACTIVE.value}
    labels = values.pop("labels")
    run_pk = connection.execute(insertion, values).scalar()
    if run_pk is not None:
        insert_labels(connection, run_pk, labels)
        return RunRow(run_pk, *run[:-1]), True
    row = statements.run_named(connection, run.run_id)
    assert row is not None, "nothing else hinders the insertion"
    return run_of(row), False


def _record(database: Database, connection: Connection, rows: Sequence[ClientDecisionRow]) -> int | None:
    named = {row.run_pk for row in rows}
    if not all(connection.execute(statements.kept(run_pk)).scalar() for run_pk in named):
        return None
    statement = database.insert_if_absent(client_decisions).returning(client_decisions.c.id)
    return sum(len(connection.execute(statement.values(row._asdict())).all()) for row in rows)


# What a database says names hosts, users, tables and values: it is for the log, and for nobody who calls.
def _translate(error: Exception) -> TamiyoError:
    if isinstance(error, IntegrityError):
        return VersionConflictError("the run was advanced by another process")
    if isinstance(error, DatabaseLostError):
        return StoreUnavailableError(_LOST)
    if isinstance(error, SQLAlchemyError) and not isinstance(error, DataError):
        return StoreUnavailableError(
            "the store did not take the write; the service's log says why; send the request again later"
        )
    return InvalidRequestError("the store cannot hold this: a number is too large for it, or a text is none")


def _translate_read(error: Exception) -> TamiyoError:
    if isinstance(error, DataError | OverflowError):
        return InvalidRequestError("the store has no number as large, or text, as the one asked for")
    if isinstance(error, DatabaseLostError):
        return StoreUnavailableError(_LOST)
    return StoreUnavailableError("the database does not answer; the service's log says why")


def _optional_entry(row: Row[Any] | None) -> Entry | None:
    return None if row is None else entry_of(row)
