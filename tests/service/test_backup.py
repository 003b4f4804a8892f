"""Copies of a database in use."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tamiyo_service.backup import BackupError, back_up
from tamiyo_service.store import prepare_database

from tests.service.clocks import SteppingClock
from tests.service.conftest import serving, sql_store
from tests.service.retained import full_disk, make_run
from tests.service.samples import report

RUNS = 8


async def test_a_copy_made_under_load_has_every_decision_up_to_its_beginning(tmp_path: Path) -> None:
    copies, enough = tmp_path / "copies", asyncio.Event()
    copies.mkdir()
    told: dict[str, int] = {f"run-{n}": 0 for n in range(RUNS)}
    async with serving(sql_store(tmp_path)) as service:
        stopping = False

        async def train(run_id: str) -> None:
            while not stopping:
                answer = await service.http.post(f"/runs/{run_id}/epoch", json=report(told[run_id]))
                assert answer.status_code == 200
                told[run_id] += 1
                if min(told.values()) >= 20:
                    enough.set()

        trainers = [asyncio.create_task(train(run_id)) for run_id in told]
        await enough.wait()
        before = dict(told)
        url = f"sqlite:///{tmp_path / 'tamiyo.db'}"
        backup = await asyncio.to_thread(back_up, url, copies / "tamiyo.db")
        after = dict(told)
        stopping = True
        await asyncio.gather(*trainers)
    assert backup.runs == RUNS
    assert sum(before.values()) <= backup.decisions <= sum(after.values()) + RUNS
    assert [path.name for path in copies.iterdir()] == ["tamiyo.db"]
    async with serving(sql_store(copies)) as service:
        kept = {}
        for run_id in told:
            items = (await service.get(f"/runs/{run_id}/decisions?limit=1000"))["items"]
            epochs = sorted(item["epoch"] for item in items)
            assert epochs == list(range(len(epochs)))
            assert len(epochs) >= before[run_id]
            again = await service.report(run_id, epochs[-1])
            assert again.headers["tamiyo-replayed"] == "true"
            assert (await service.report(run_id, epochs[-1] + 1)).status_code == 200
            kept[run_id] = len(epochs)
        assert sum(kept.values()) == backup.decisions


def test_writing_goes_on_while_a_copy_is_made_and_the_copy_sees_none_of_it(tmp_path: Path) -> None:
    async def fill() -> None:
        store = sql_store(tmp_path)
        await store.open()
        await make_run(store, SteppingClock(), "run", epochs=5_000)
        await store.close()

    asyncio.run(fill())
    steps: list[tuple[int, int]] = []
    with closing(sqlite3.connect(tmp_path / "tamiyo.db", timeout=0, isolation_level=None)) as writer:
        writer.execute("UPDATE journal SET payload = hex(randomblob(2000))")

        def write(copied: int, pages: int) -> None:
            steps.append((copied, pages))
            writer.execute("UPDATE runs SET result = ?", (str(len(steps)),))

        backup = back_up(f"sqlite:///{tmp_path / 'tamiyo.db'}", tmp_path / "copy.db", progress=write)
        assert writer.execute("SELECT result FROM runs").fetchone() == (str(len(steps)),)
    assert len(steps) > 2
    assert steps == sorted(set(steps)), "no step was made again"
    assert backup.decisions == 5_000
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT result FROM runs").fetchone() == (None,)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database without runs."""
    url = f"sqlite:///{tmp_path / 'tamiyo.db'}"
    prepare_database(url)
    return url


def test_a_file_is_replaced_only_on_demand(url: str, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("precious")
    with pytest.raises(BackupError, match="exists; name another file, or overwrite it"):
        back_up(url, target)
    assert target.read_text() == "precious"
    assert back_up(url, target, overwrite=True).size_bytes == target.stat().st_size
    assert target.read_bytes().startswith(b"SQLite format 3")


def test_a_copy_can_be_read_by_whoever_can_read_the_database(url: str, tmp_path: Path) -> None:
    (tmp_path / "tamiyo.db").chmod(0o640)
    back_up(url, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_leaves_no_half_copy(url: str, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("precious")
    with full_disk(60_000), pytest.raises(BackupError, match="could not be copied"):
        back_up(url, target, overwrite=True)
    assert target.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "tamiyo.db"]


def _damage(folder: Path) -> None:
    with (folder / "tamiyo.db").open("r+b") as file:
        file.seek(8192 * 3)
        file.write(b"\xff" * 8192)


def _foreign(folder: Path) -> None:
    (folder / "tamiyo.db").unlink()
    with closing(sqlite3.connect(folder / "tamiyo.db")) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")


def _none(folder: Path) -> None:
    (folder / "tamiyo.db").unlink()


def _folder(folder: Path) -> None:
    (folder / "copy.db").mkdir()


def _onto_itself(folder: Path) -> None:
    (folder / "copy.db").symlink_to(folder / "tamiyo.db")


def _onto_the_log(folder: Path) -> None:
    (folder / "copy.db").symlink_to(folder / "tamiyo.db-wal")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_damage, "damaged|malformed"),
        (_foreign, "no database of Tamiyo"),
        (_none, "there is no database"),
        (_folder, "is a folder; name a file in it"),
        (_onto_itself, "belongs to the database itself"),
        (_onto_the_log, "belongs to the database itself"),
    ],
)
def test_what_cannot_be_copied_is_told_of_and_leaves_nothing_behind(
    url: str, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(BackupError, match=message):
        back_up(url, tmp_path / "copy.db", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_folder_that_is_not_there_is_not_made(url: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="there is no folder"):
        back_up(url, tmp_path / "no" / "copy.db")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "postgresql://tamiyo:secret@db/tamiyo",
            r"pg_dump --format=custom .*'postgresql://tamiyo:\*\*\*@db/tamiyo'",
        ),
        ("postgresql+psycopg://db/tamiyo", "pg_dump .*'postgresql://db/tamiyo'"),
        ("postgresql://db/tamiyo?password=secret", r"'postgresql://db/tamiyo\?password=%2A%2A%2A'"),
        ("mysql://db/tamiyo?password=secret", r"^mysql://db/tamiyo\?password=%2A%2A%2A names no SQLite file"),
        ("sqlite://", "names no SQLite file"),
        ("nonsense", "no database URL"),
    ],
)
def test_what_is_no_sqlite_file_is_refused_with_a_remedy(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(BackupError, match=message):
        back_up(url, tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []
