"""PostgreSQL: what the store tells it, and what it says when it cannot be used."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import select, text
from tamiyo_service.errors import InvalidRequestError, VersionConflictError
from tamiyo_service.store import SqlStore, prepare_database, retention
from tamiyo_service.store.dialect import DatabaseUnusableError, DatabaseUrlError, database_at, insert_rows
from tamiyo_service.store.expired import Cutoffs
from tamiyo_service.store.migrate import REVISION
from tamiyo_service.store.models import ActivationRow
from tamiyo_service.store.rows import (
    ClientDecisionRow,
    DecisionFilter,
    DecisionKey,
    Entry,
    OutcomeRow,
    RunFilter,
    RunRow,
    Write,
)
from tamiyo_service.store.schema import journal, metadata

from tests.service.postgres import PASSWORD, PostgresServer
from tests.service.proxy import wire_to
from tests.service.test_store import append, create, entry, unheard


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[SqlStore]:
    store = SqlStore(postgres_url)
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_both_names_of_the_driver_are_understood(scheme: str) -> None:
    assert database_at(f"{scheme}://u:p@h:5433/d?sslmode=require").url.host == "h"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:hush@h", "name a database"),
        ("postgres://u:hush@h/d", "'postgres' are not supported; write .*postgresql://"),
        ("postgresql+asyncpg://u:hush@h/d", "driver 'asyncpg' is not supported; write .*postgresql://"),
        ("postgresql://u:hush@h:port/d", "no database URL; write .*postgresql://"),
        ("u:hush@h/d", "no database URL; write .*postgresql://"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(DatabaseUrlError, match=message) as told:
        SqlStore(url)
    assert "hush" not in str(told.value)


def test_without_psycopg_the_message_says_how_to_get_it() -> None:
    program = "import sys; sys.modules['psycopg'] = None\n"
    program += "from tamiyo_service.store import SqlStore; SqlStore('postgresql://u:hush@h/d')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "DatabaseUrlError" in ended.stderr
    assert "pip install 'esper-tamiyo[postgres]'" in ended.stderr


Preparation = Callable[[PostgresServer, str], str]
"""Makes a database unusable; the URL to try."""


def told(statement: str) -> Preparation:
    """The database after this statement."""

    def prepare(server: PostgresServer, name: str) -> str:
        with server.connect(name) as connection:
            connection.execute(statement.format(name=name).encode())
        return server.url(name)

    return prepare


def _guest(server: PostgresServer, name: str) -> str:
    told(f"DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")(server, name)
    return server.url(name).replace("//tamiyo:", "//guest:")


EMPTY, FULL = "template0", "tamiyo_template"
UNUSABLE: dict[str, tuple[str, Preparation, str]] = {
    "missing": (EMPTY, lambda server, name: server.url("nowhere"), "no such database .*; create it"),
    "wrong password": (
        EMPTY,
        lambda server, name: server.url(name, password="hush"),
        "does not let this user in .*; correct user and password",
    ),
    "unknown user": (
        EMPTY,
        lambda server, name: server.url(name).replace("//tamiyo:", "//nobody:"),
        "does not let this user in",
    ),
    "nobody listens": (
        EMPTY,
        lambda server, name: server.url(name, port=1),
        "cannot be reached .*; start the server, or correct host and port",
    ),
    "without rights": (FULL, _guest, "has not the rights .*permission denied .*; let the user"),
    "another program's": (
        EMPTY,
        told("CREATE TABLE songs (title text)"),
        r"tables are songs\); name",
    ),
    "a newer version's": (
        FULL,
        told("UPDATE alembic_version SET version_num = '9999'"),
        "a newer Tamiyo",
    ),
    "read-only": (EMPTY, told("ALTER DATABASE {name} SET default_transaction_read_only = on"), "read-only"),
}


@pytest.mark.parametrize(("template", "prepare", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_database_that_cannot_be_used_is_told_of_in_one_line_without_a_password(
    postgres_server: PostgresServer, template: str, prepare: Preparation, message: str
) -> None:
    with postgres_server.database(template=template) as name:
        url = prepare(postgres_server, name)
        with pytest.raises(DatabaseUnusableError, match=message) as refused:
            prepare_database(url)
    line = str(refused.value)
    assert "\n" not in line
    assert PASSWORD not in line
    assert "hush" not in line
    assert line.startswith("postgresql+psycopg://")


def test_a_database_that_does_not_hold_every_character_is_refused(postgres_server: PostgresServer) -> None:
    with (
        postgres_server.database(template=EMPTY, encoding="LATIN1") as name,
        pytest.raises(DatabaseUnusableError, match="encoding is LATIN1; create one with ENCODING 'UTF8'"),
    ):
        prepare_database(postgres_server.url(name))


def test_migrations_build_the_tables_that_the_statements_use(postgres_url: str) -> None:
    by_kind = {"ix_run_labels_value", "ix_run_labels_head"}
    options = {"include_object": lambda _item, name, *_: name not in by_kind}
    database = database_at(postgres_url)
    with database.readers.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        indices = connection.execute(text("SELECT indexname FROM pg_indexes WHERE tablename = 'run_labels'"))
        assert by_kind & set(indices.scalars()) == {"ix_run_labels_head"}
    database.dispose()


def test_services_that_start_together_on_an_empty_database_all_find_it_ready(
    postgres_server: PostgresServer,
) -> None:
    with postgres_server.database(template=EMPTY) as name, ThreadPoolExecutor(6) as threads:
        list(threads.map(prepare_database, [postgres_server.url(name)] * 6))
        with postgres_server.connect(name) as connection:
            assert connection.execute("SELECT * FROM alembic_version").fetchall() == [(REVISION,)]


def test_what_is_written_is_flushed_whatever_the_server_is_set_to(postgres_url: str) -> None:
    database = database_at(postgres_url)
    with database.readers.connect() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "off"
    with database.writer.connect() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
        assert connection.execute(text("SHOW lock_timeout")).scalar() == "5s"
    database.dispose()


async def test_a_group_is_one_round_trip(postgres_server: PostgresServer, postgres_url: str) -> None:
    async with wire_to(postgres_server.port) as wire:
        store = SqlStore(postgres_server.url("shared", port=wire.port))
        await store.open()
        runs = [await create(store, f"run-{number}") for number in range(20)]
        for seq in (1, 2):
            before = wire.turns
            await asyncio.gather(
                *(
                    store.append(
                        Write(
                            (entry(run, seq, seq),), (OutcomeRow(run.run_pk, 0, 0, "c", "EXECUTED", seq, ""),)
                        ),
                        unheard,
                    )
                    for run in runs
                )
            )
        # The first group of its size is prepared besides.
        assert wire.turns - before == 1
        await store.close()


async def test_groups_larger_than_a_statement_are_one_transaction(store: SqlStore) -> None:
    run = await create(store)
    await append(store, *(entry(run, seq, seq) for seq in range(1, 201)))
    with pytest.raises(VersionConflictError):
        await append(store, *(entry(run, seq, seq) for seq in range(201, 400)), entry(run, 200))
    last = await store.load("run")
    assert last is not None
    assert last[1] == entry(run, 200, 200)


async def test_numbers_and_texts_that_it_cannot_hold_are_refused_in_words(store: SqlStore) -> None:
    run, other = await create(store), await create(store, "other")
    sick: list[dict[str, object]] = [{"seq": 2**31}, {"at": 2**63}, {"hold": "\0"}, {"risk": 2**15}]
    for fields in sick:
        bad, good = entry(run, 1)._replace(**fields), entry(other, sick.index(fields) + 1)  # type: ignore[arg-type]  # mixed values
        ended = await asyncio.gather(
            *(store.append(Write((row,)), unheard) for row in (bad, good)), return_exceptions=True
        )
        assert [type(error) for error in ended] == [InvalidRequestError, type(None)]
    with pytest.raises(InvalidRequestError, match="large"):
        await store.report(DecisionKey(run.run_pk, 0, 2**64))
    with pytest.raises(InvalidRequestError, match="text"):
        await store.runs(RunFilter(labels=(("a", "\0"),)), 1)
    assert await store.load("run") == (run, None)


async def test_long_labels_are_found(store: SqlStore) -> None:
    value = "".join(chr(0x4E00 + number) for number in range(2000))
    await create(store, "a", labels=(("k", value),))
    await create(store, "b", labels=(("k", value[:-1]),))
    assert [run.run_id for run in (await store.runs(RunFilter(labels=(("k", value),)), 10)).rows] == ["a"]


def test_labels_are_found_by_an_index(postgres_url: str) -> None:
    database = database_at(postgres_url)
    with database.readers.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))
        condition = "key = 'a' AND value = 'b' AND substr(value, 1, 250) = 'b'"
        plan = connection.execute(text(f"EXPLAIN SELECT run_pk FROM run_labels WHERE {condition}")).scalars()
        assert "ix_run_labels_head" in " ".join(plan)
    database.dispose()


@contextmanager
def uncommitted(store: SqlStore, *entries: Entry) -> Iterator[None]:
    """A transaction of another process that has appended entries and takes its time."""
    with store._database.writer.begin() as connection:
        insert_rows(connection, journal, entries)
        yield


async def seen(store: SqlStore, **wanted: object) -> list[int]:
    found = await store.decisions(DecisionFilter(**wanted), 100)  # type: ignore[arg-type]  # mixed values
    return [row.entry.run_pk for row in found.rows]


async def test_who_reads_forward_does_not_pass_a_decision_that_commits_late(store: SqlStore) -> None:
    early, late, after = [await create(store, name) for name in ("early", "late", "after")]
    await append(store, entry(early, 1, 1))
    with uncommitted(store, entry(late, 1, 1)):
        await append(store, entry(after, 1, 1))
        assert await seen(store, ascending=True) == [early.run_pk]
        assert await seen(store) == [after.run_pk, early.run_pk]
    assert await seen(store, ascending=True) == [early.run_pk, late.run_pk, after.run_pk]


async def test_who_follows_the_ids_meets_every_entry_whoever_writes_it(postgres_url: str) -> None:
    stores = [SqlStore(postgres_url) for _ in range(4)]
    for store in stores:
        await store.open()
    runs = [[await create(stores[0], f"{n}-{m}") for m in range(4)] for n in range(len(stores))]

    async def write(store: SqlStore, run: RunRow) -> None:
        for seq in range(1, 61):
            await append(store, entry(run, seq, seq))

    writing = asyncio.gather(
        *(write(store, run) for store, own in zip(stores, runs, strict=True) for run in own)
    )
    seen, last, database = list[int](), 0, database_at(postgres_url)

    def look() -> None:
        nonlocal last
        with database.readers.connect() as connection:
            settled = database.settled_below(connection)
            found = select(journal.c.id).where(journal.c.id > last, journal.c.id < settled)
            seen.extend(connection.execute(found.order_by(journal.c.id)).scalars())
        last = max(seen, default=0)

    while not writing.done():
        await asyncio.to_thread(look)
    await writing
    await asyncio.to_thread(look)
    assert len(seen) == 4 * 4 * 60
    for store in stores:
        await store.close()
    database.dispose()


async def test_client_decisions_wait_for_who_retires_the_run_and_come_too_late(
    store: SqlStore, postgres_url: str
) -> None:
    run = await create(store)
    (found,) = (await store.expired(Cutoffs(completed=10**15, silent=10**15), 0, 10)).runs
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    engine = database_at(postgres_url).untouched()
    with engine.connect() as watching, engine.begin() as connection:
        assert retention.retire(connection, found, 5_000, to_archive=True)
        rows = [ClientDecisionRow(run.run_pk, 0, 1, 1, "{}")]
        telling = asyncio.create_task(store.add_client_decisions(rows))
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(lambda: watching.execute(waiting).scalar()):
                assert not telling.done()
    assert await telling is None
    assert await store.belongings(ClientDecisionRow, run.run_pk, 0, 10) == []


async def test_two_processes_that_append_to_the_same_runs_neither_block_nor_lose(postgres_url: str) -> None:
    stores = SqlStore(postgres_url), SqlStore(postgres_url)
    for store in stores:
        await store.open()
    runs = [await create(stores[0], f"run-{number}") for number in range(20)]
    for seq in range(1, 11):
        ended = [
            asyncio.gather(
                *(store.append(Write((entry(run, seq, seq),)), unheard) for run in order),
                return_exceptions=True,
            )
            for store, order in zip(stores, (runs, runs[::-1]), strict=True)
        ]
        one, two = [await answers for answers in ended]
        for mine, other in zip(one, reversed(two), strict=True):
            assert sorted(type(answer).__name__ for answer in (mine, other)) == [
                "NoneType",
                "VersionConflictError",
            ]
    found = await stores[0].decisions(DecisionFilter(), 1000)
    assert len(found.rows) == 200
    for store in stores:
        await store.close()


async def test_activations_of_two_processes_follow_one_another(postgres_url: str) -> None:
    stores = SqlStore(postgres_url), SqlStore(postgres_url)
    for store in stores:
        await store.open()
    rows = [ActivationRow(1, "cnn", f"model-{number}", "1", "ab", None, "better") for number in range(40)]
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        await asyncio.gather(stores[0].models.activate(one), stores[1].models.activate(two))
    found = await stores[0].models.activations("cnn", 100)
    assert sorted(row.name for row in found) == sorted(row.name for row in rows)
    assert [row.previous for row in found] == [*(row.policy_version for row in found[1:]), None]
    for store in stores:
        await store.close()
