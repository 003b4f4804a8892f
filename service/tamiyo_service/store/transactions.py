"""Transactions of the writer's thread: many requests in one, and again when the database was away."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from tamiyo_service.observability.tallies import StoreTally
from tamiyo_service.store import statements
from tamiyo_service.store.checkpointer import Checkpointer
from tamiyo_service.store.database import DatabaseLostError
from tamiyo_service.store.dialect import Database, insert_rows
from tamiyo_service.store.outage import Outage
from tamiyo_service.store.rows import Entry, Write
from tamiyo_service.store.schema import command_outcomes, journal, run_labels, runs

Job = Callable[[Connection], Any]
"""What else is done within a transaction. It may be done again if it is not known to have succeeded."""
Task = Write | Job
AT_ONCE_ROWS: Final = 16
"""Rows that a quick disk takes in well under a millisecond ..."""
AT_ONCE_CHARACTERS: Final = 262_144
"""... unless they are as long as this together."""
_LOOK_SECONDS: Final = 1.0
"""Between two looks whether the database is where it was."""


class Transactions:
    """Executes tasks on one connection, which is made anew when it is lost.

    Args:
        database: to write to.
        outage: tells how long to wait for it.
        checkpointer: told of everything written.
        tally: counts it.

    Attributes:
        connection: None: none has been needed yet.
    """

    def __init__(
        self, database: Database, outage: Outage, checkpointer: Checkpointer | None, tally: StoreTally
    ) -> None:
        self.connection: Connection | None = None
        self._database = database
        self._outage = outage
        self._checkpointer = checkpointer
        self._tally = tally
        self._doubtful: Sequence[Task] = ()
        self._looked_at = -math.inf

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def execute(self, tasks: Sequence[Task]) -> Sequence[Any]:
        """Do everything in one transaction, rows of many requests in one statement.

        While the database is away it is tried again, as long as the outage lets one wait. A transaction may
        have been committed although its answer was lost: its entries are recognised then.

        Returns:
            What the jobs return, None for the writes; in the order of the tasks.

        Raises:
            DBAPIError: if it could not be done; nothing of it was.
            DatabaseLostError: if it would be done in a file that nobody finds again.
        """
        self._require_same_place()
        try:
            return self._persist(tasks)
        except IntegrityError:
            # The answer to its commit was lost, and it is there.
            if len(tasks) == 1 and self._is_doubtful(tasks[0]) and self._is_there(tasks[0]):
                return [None]
            raise

    def execute_at_once(self, tasks: Sequence[Task]) -> Sequence[Any] | None:
        """Do the same in the time that the disk takes, waiting for nobody.

        Returns:
            None where that is not possible, for whatever reason; nothing was done then.
        """
        entries: list[Entry] = []
        for task in tasks:
            if not isinstance(task, Write) or task.outcomes or _touches_runs(task):
                return None
            entries += task.entries
        if self.connection is None or not 0 < len(entries) <= AT_ONCE_ROWS:
            return None
        if sum(len(entry.payload) + len(entry.state) for entry in entries) > AT_ONCE_CHARACTERS:
            return None
        if self._checkpointer is not None and self._checkpointer.wants_help:
            return None
        try:
            self._require_same_place()
        except DatabaseLostError:
            return None
        if not self._database.append_at_once(self.connection, entries):
            return None
        self._tally.stored(entries)
        if self._checkpointer is not None:
            self._checkpointer.changed(len(entries))
        return [None] * len(tasks)

    def _require_same_place(self) -> None:
        """Look now and then whether the database is where it was."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._database.require_same_place()
            self._looked_at = now

    def _persist(self, tasks: Sequence[Task]) -> Sequence[Any]:
        """The same transaction again, as long as the database may come back."""
        for attempts in itertools.count(1):
            try:
                results = self._transact(self._connected(), tasks)
            except DBAPIError as error:
                if not self._database.may_pass(error):
                    raise
                if self.connection is not None:
                    self._doubtful = tasks
                    self._disconnect()
                if not self._outage.pause(attempts):
                    raise
            else:
                self._outage.end()
                return results
        raise AssertionError("counting does not end")

    def _connected(self) -> Connection:
        if self.connection is None:
            self.connection = self._database.writer.connect()
        return self.connection

    def _disconnect(self) -> None:
        if self.connection is not None:
            self.connection.invalidate()
            self.connection.close()
            self.connection = None

    def _transact(self, connection: Connection, tasks: Sequence[Write | Job]) -> Sequence[Any]:
        writes = [task for task in tasks if isinstance(task, Write)]
        entries = list(itertools.chain.from_iterable(write.entries for write in writes))
        outcomes = list(itertools.chain.from_iterable(write.outcomes for write in writes))
        results: list[Any] = [None] * len(tasks)
        simple = len(writes) == len(tasks) and not any(map(_touches_runs, writes))
        if not (simple and self._database.append_alone(connection, entries, outcomes)):
            with connection.begin():
                insert_rows(connection, journal, entries)
                insert_rows(connection, command_outcomes, outcomes)
                _touch_runs(connection, writes)
                results = [None if isinstance(task, Write) else task(connection) for task in tasks]
        self._tally.stored(entries)
        if self._checkpointer is not None:
            self._checkpointer.wrote(connection, len(entries))
        return results

    def _is_doubtful(self, task: Task) -> bool:
        return any(task is doubtful for doubtful in self._doubtful)

    def _is_there(self, task: Task) -> bool:
        """Whether every entry of a write is stored just so; its other rows were stored with them."""
        if not isinstance(task, Write):
            return False
        connection = self._connected()
        with connection.begin():
            return all(_is_stored(connection, entry) for entry in task.entries)


def _touches_runs(write: Write) -> bool:
    return write[2:] != (None, None, None)


def _touch_runs(connection: Connection, writes: Sequence[Write]) -> None:
    for write in writes:
        if write.status is not None:
            changed = update(runs).where(runs.c.run_pk == write.status.run_pk)
            values = {"status": write.status.status.value, "result": write.status.result}
            connection.execute(changed.values(values))
        if write.policy is not None:
            run_pk, policy, chosen = write.policy
            changed = update(runs).where(runs.c.run_pk == run_pk)
            connection.execute(changed.values(policy=policy, chosen=chosen))
        if write.labels is not None:
            connection.execute(delete(run_labels).where(run_labels.c.run_pk == write.labels.run_pk))
            insert_labels(connection, *write.labels)


def insert_labels(connection: Connection, run_pk: int, labels: Sequence[tuple[str, str]]) -> None:
    """Give a run labels it does not have."""
    if labels:
        rows = [{"run_pk": run_pk, "key": key, "value": value} for key, value in labels]
        connection.execute(insert(run_labels), rows)


def _is_stored(connection: Connection, entry: Entry) -> bool:
    stored = connection.execute(statements.entry_before(entry.run_pk, entry.seq + 1)).first()
    return stored is not None and tuple(stored) == entry
