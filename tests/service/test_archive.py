"""The archive: complete, verified before anything is deleted, and never half there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from tamiyo_leyline import __version__
from tamiyo_service.retention.archive import ArchiveError
from tamiyo_service.retention.columns import CLIENT_DECISIONS, COMMAND_OUTCOMES, JOURNAL, RUNS
from tamiyo_service.retention.opening import open_archive
from tamiyo_service.retention.parquet import ParquetArchive, ParquetDraft
from tamiyo_service.store import MemoryStore, SqlStore, Store
from tamiyo_service.store.rows import ClientDecisionRow, Entry, OutcomeRow, RunRow

from tests.service.clocks import SteppingClock
from tests.service.retained import TABLES, RevivingStore, archived, full_disk, make_run, parts, sweep_of

MONTH = 31 * 86_400.0


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


async def everything_of(store: Store, run: RunRow) -> dict[str, list[Any]]:
    kinds = (("journal", Entry), ("command_outcomes", OutcomeRow), ("client_decisions", ClientDecisionRow))
    return {
        name: [row for _, row in await store.belongings(kind, run.run_pk, 0, 10_000)]  # type: ignore[type-var]  # any kind
        for name, kind in kinds
    }


def rebuilt(row: dict[str, Any], kind: Any) -> Any:
    """A row of the archive as the store had it."""
    values = {name: row[name] for name in kind._fields}
    for moment in {"at", "created_at"} & set(values):
        values[moment] = (values[moment] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return kind(**values)


async def test_an_archived_run_can_be_rebuilt_exactly(
    store: Store, clock: SteppingClock, folder: Path
) -> None:
    runs = [await make_run(store, clock, f"run-{n}", epochs=250) for n in range(3)]
    kept = [await everything_of(store, run) for run in runs]
    clock.advance(MONTH)
    swept = await sweep_of(store, clock, open_archive(folder)).run()
    assert (swept.runs, swept.inputs) == (3, 750)
    assert swept.archived_bytes == sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    assert [await store.run(run.run_id) for run in runs] == [None] * 3
    assert [rebuilt(row, RunRow) for row in archived(folder, "runs")] == runs
    for run, belongings in zip(runs, kept, strict=True):
        for table, kind in zip(TABLES[1:], (Entry, OutcomeRow, ClientDecisionRow), strict=True):
            rows = [row for row in archived(folder, table) if row["run_id"] == run.run_id]
            assert [rebuilt(row, kind) for row in rows] == belongings[table]


async def test_the_columns_are_those_of_the_store() -> None:
    for schema, kind, more in (
        (RUNS, RunRow, {"labels"}),
        (JOURNAL, Entry, {"run_id"}),
        (COMMAND_OUTCOMES, OutcomeRow, {"run_id"}),
        (CLIENT_DECISIONS, ClientDecisionRow, {"run_id"}),
    ):
        assert set(schema.names) == set(kind._fields) | more


async def test_a_part_has_a_file_in_every_folder_that_says_what_it_is(
    store: Store, clock: SteppingClock, folder: Path
) -> None:
    await make_run(store, clock, "old")
    clock.advance(MONTH)
    await sweep_of(store, clock, open_archive(folder)).run()
    files = parts(folder)
    assert {len(names) for names in files.values()} == {1}
    assert len({names[0] for names in files.values()}) == 1
    assert files["runs"][0].startswith("20260201T1200")
    assert sorted(path.name for path in folder.iterdir()) == sorted(TABLES)
    for table in TABLES:
        metadata = parquet.read_schema(folder / table / files[table][0]).metadata
        assert metadata[b"tamiyo.table"] == table.encode()
        assert metadata[b"tamiyo.format"] == b"3"
        assert metadata[b"tamiyo.version"] == __version__.encode()
    assert archived(folder, "runs")[0]["labels"] == [("team", "vision")]


async def test_sweeps_that_find_nothing_write_nothing(
    store: Store, clock: SteppingClock, folder: Path
) -> None:
    await make_run(store, clock, "young")
    await sweep_of(store, clock, open_archive(folder)).run()
    assert parts(folder) == {table: [] for table in TABLES}


async def test_later_sweeps_add_parts(store: Store, clock: SteppingClock, folder: Path) -> None:
    for run_id in ("one", "two"):
        await make_run(store, clock, run_id)
        clock.advance(MONTH)
        await sweep_of(store, clock, open_archive(folder)).run()
    assert [len(names) for names in parts(folder).values()] == [2, 2, 2, 2]
    assert sorted(row["run_id"] for row in archived(folder, "runs")) == ["one", "two"]


async def test_a_run_that_was_spared_is_not_in_the_archive(clock: SteppingClock, folder: Path) -> None:
    store = RevivingStore()
    store.revived = await make_run(store, clock, "old")
    await make_run(store, clock, "older")
    clock.advance(MONTH)
    await sweep_of(store, clock, open_archive(folder)).run()
    assert [row["run_id"] for row in archived(folder, "runs")] == ["older"]
    assert {row["run_id"] for row in archived(folder, "journal")} == {"older"}
    assert sorted(path.name for path in folder.iterdir()) == sorted(TABLES)


async def test_a_part_whose_runs_were_all_spared_is_not_written(clock: SteppingClock, folder: Path) -> None:
    store = RevivingStore()
    store.revived = await make_run(store, clock, "old")
    clock.advance(MONTH)
    swept = await sweep_of(store, clock, open_archive(folder)).run()
    assert (swept.runs, swept.spared, swept.archived_bytes) == (0, 1, 0)
    assert parts(folder) == {table: [] for table in TABLES}
    assert await store.run("old") is not None


async def test_two_sweeps_archive_every_run_once(
    database_url: str, clock: SteppingClock, folder: Path
) -> None:
    one, two = SqlStore(database_url), SqlStore(database_url)
    await one.open()
    await two.open()
    for number in range(40):
        await make_run(one, clock, f"run-{number}")
    clock.advance(MONTH)
    archive = open_archive(folder)
    await asyncio.gather(sweep_of(one, clock, archive).run(), sweep_of(two, clock, archive).run())
    assert sorted(row["run_id"] for row in archived(folder, "runs")) == sorted(f"run-{n}" for n in range(40))
    assert len(archived(folder, "journal")) == 120
    await one.close()
    await two.close()


class DamagedDraft(ParquetDraft):
    """A draft on a disk that keeps something else than what was written."""

    def verify(self) -> None:
        path = self.place / "journal.parquet"
        content = bytearray(path.read_bytes())
        content[100] ^= 0xFF
        path.write_bytes(content)
        super().verify()


class DamagedArchive(ParquetArchive):
    def draft(self, now: datetime) -> ParquetDraft:
        return DamagedDraft(self.folder, now)


async def test_what_cannot_be_read_back_is_not_deleted(
    store: Store, clock: SteppingClock, folder: Path
) -> None:
    run = await make_run(store, clock, "old")
    clock.advance(MONTH)
    archive = DamagedArchive(folder)
    archive.prepare()
    with pytest.raises(ArchiveError, match="nothing was deleted"):
        await sweep_of(store, clock, archive).run()
    assert await store.run("old") == run
    assert parts(folder) == {table: [] for table in TABLES}
    assert list(folder.glob(".writing-*")) == []


@pytest.mark.parametrize("size", [100, 5_000])
async def test_a_full_disk_deletes_nothing_and_the_next_sweep_goes_on(
    clock: SteppingClock, folder: Path, size: int
) -> None:
    store = MemoryStore()
    run = await make_run(store, clock, "old", epochs=3_000)
    clock.advance(MONTH)
    sweep = sweep_of(store, clock, open_archive(folder))
    with full_disk(size), pytest.raises(ArchiveError, match="nothing was deleted: free its disk"):
        await sweep.run()
    assert await store.run("old") == run
    assert len(await store.belongings(Entry, run.run_pk, 0, 10_000)) == 3_000
    assert list(folder.rglob("*.parquet")) == []
    assert (await sweep.run()).runs == 1
    assert len(archived(folder, "journal")) == 3_000


async def test_what_a_killed_process_left_goes_away_after_a_day(
    store: Store, clock: SteppingClock, folder: Path
) -> None:
    archive = open_archive(folder)
    for name, age in (("old", 25), ("young", 23)):
        left = folder / f".writing-{name}"
        left.mkdir()
        (left / "journal.parquet").touch()
        then = clock.now.timestamp() - age * 3600
        os.utime(left, (then, then))
    draft = archive.draft(clock())
    draft.discard()
    assert [path.name for path in folder.glob(".writing-*")] == [".writing-young"]


@pytest.mark.parametrize("place", ["/proc/archive", "file/archive"])
def test_a_place_that_cannot_be_written_is_refused_with_a_remedy(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveError, match=r"cannot be written .*make sure that Tamiyo may write there"):
        open_archive(tmp_path / place)


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["pyarrow"] = None
from pathlib import Path
from tamiyo_service.retention.archive import ArchiveError
from tamiyo_service.retention.opening import open_archive
try:
    open_archive(Path({str(tmp_path)!r}))
except ArchiveError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'esper-tamiyo[parquet]'" in ended.stdout
