"""A full disk: refusals in words while it is full, reads all the time, no loss, and recovery by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import httpx
import pytest

from tests.faults.services import Service, running
from tests.faults.trainers import Trainers, lively, require_exact, require_numbered, require_undisturbed
from tests.service.postgres import PostgresServer
from tests.service.processes import free_port

RUNS: Final = [f"run-{number}" for number in range(6)]
MEBIBYTE: Final = 1024 * 1024


class Disk(Protocol):
    """A disk that can be made full, and empty again.

    Attributes:
        folder: on it.
    """

    folder: Path

    def fill(self, service: Service, room: int) -> None:
        """Leave so many bytes."""

    def free(self, service: Service) -> None:
        """Make room again."""


class SmallDisk:
    """A file system in memory, filled with a large file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, service: Service, room: int) -> None:
        with self._ballast.open("wb") as file:
            # The service goes on writing: what is there for the taking may be gone the next moment.
            while (size := self._left() - room) > 0:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                else:
                    return

    def _left(self) -> int:
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def free(self, service: Service) -> None:
        self._ballast.unlink()


class LimitedFiles:
    """A folder in which no file of the service may grow, for machines on which nothing can be mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, service: Service, room: int) -> None:
        size = (self.folder / "tamiyo.db-wal").stat().st_size + room
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def free(self, service: Service) -> None:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        # A limit ends with its process.
        with suppress(ProcessLookupError):
            resource.prlimit(service.pid, resource.RLIMIT_FSIZE, unlimited)


@pytest.fixture(params=["small disk", "limited files"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Each kind of disk; where nothing may be mounted the second one twice."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={32 * MEBIBYTE}", "tamiyo", str(tmp_path)]
    if request.param == "limited files" or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield LimitedFiles(tmp_path)
        return
    try:
        yield SmallDisk(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def require_whole(database: Path) -> None:
    """Return if SQLite finds nothing wrong with a file."""
    connection = sqlite3.connect(database)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def require_reads(http: httpx.Client, trainers: Trainers) -> None:
    """Return if what needs no room on the disk is answered."""
    assert http.get("/healthz").status_code == 200
    assert http.get("/runs").status_code == 200
    for run_id, replies in trainers.told.items():
        assert http.get(f"/runs/{run_id}").json()["last_epoch"] == len(replies) - 1
        assert http.get(f"/runs/{run_id}/decisions/0").status_code == 200
        again = http.post(f"/runs/{run_id}/epoch", json=lively(len(replies) - 1))
        assert (again.content, again.headers["tamiyo-replayed"]) == (replies[-1], "true")


async def test_a_full_disk_is_told_of_and_once_there_is_room_everything_goes_on(disk: Disk) -> None:
    database = disk.folder / "tamiyo.db"
    trainers = Trainers(f"http://127.0.0.1:{(port := free_port())}", run_ids=RUNS)
    with running(f"sqlite:///{database}", port) as service, httpx.Client(base_url=service.url) as http:
        trainers.start()
        for room in (0, MEBIBYTE // 2):
            await trainers.progress(30)
            trainers.refused.clear()
            disk.fill(service, room)
            await trainers.until(lambda: len(trainers.refused) > 5 * len(RUNS))
            assert set(trainers.refused) == {("store_unavailable", "1")}
            ready = http.get("/readyz")
            assert (ready.status_code, ready.json()["code"]) == (503, "store_unavailable")
            require_reads(http, trainers)
            disk.free(service)
        await trainers.progress(30)
        assert http.get("/readyz").status_code == 200
        await trainers.finish()
        require_exact(service.url, trainers.told)
        service.stop()
    require_whole(database)
    require_numbered(f"sqlite:///{database}", trainers.told)
    await require_undisturbed(trainers.told)


def failed_writes(http: httpx.Client) -> float:
    """How many transactions the service says the disk did not take."""
    (told,) = re.findall(
        r'^tamiyo_store_errors_total\{operation="write"\} (\S+)$', http.get("/metrics").text, re.M
    )
    return float(told)


async def test_a_service_that_nobody_writes_to_is_not_ready_until_there_is_room(disk: Disk) -> None:
    database = disk.folder / "tamiyo.db"
    with running(f"sqlite:///{database}") as service, httpx.Client(base_url=service.url, timeout=30) as http:
        assert http.post("/runs/run/epoch", json=lively(0)).status_code == 200
        disk.fill(service, 0)
        epoch = 1
        while http.post("/runs/run/epoch", json=lively(epoch)).status_code == 200:
            epoch += 1
        failed = failed_writes(http)
        while failed_writes(http) < failed + 4:
            assert http.get("/readyz").status_code == 503
            await asyncio.sleep(0.1)
        disk.free(service)
        while http.get("/readyz").status_code == 503:
            await asyncio.sleep(0.1)
        assert http.post("/runs/run/epoch", json=lively(epoch)).status_code == 200
        service.stop()
    require_whole(database)


async def test_a_service_that_is_killed_on_a_full_disk_has_everything_when_it_starts_again(
    disk: Disk,
) -> None:
    database = disk.folder / "tamiyo.db"
    trainers = Trainers(f"http://127.0.0.1:{(port := free_port())}", run_ids=RUNS)
    with running(f"sqlite:///{database}", port) as service:
        trainers.start()
        await trainers.progress(30)
        disk.fill(service, MEBIBYTE // 4)
        await trainers.until(lambda: len(trainers.refused) > len(RUNS))
        service.kill()
    with running(f"sqlite:///{database}", port) as again, httpx.Client(base_url=again.url) as http:
        for run_id, replies in trainers.told.items():
            assert http.get(f"/runs/{run_id}").status_code == 200
            assert http.post(f"/runs/{run_id}/epoch", json=lively(0)).content == replies[0]
        disk.free(service)
        await trainers.progress(30)
        await trainers.finish()
        require_exact(service.url, trainers.told)
    require_numbered(f"sqlite:///{database}", trainers.told)


async def test_a_disk_without_room_for_the_log_to_be_copied_loses_nothing(disk: Disk) -> None:
    """The log is copied into the database after every 1 000 entries; here that needs more than is left."""
    database = disk.folder / "tamiyo.db"
    trainers = Trainers(f"http://127.0.0.1:{(port := free_port())}", run_ids=RUNS)
    with running(f"sqlite:///{database}", port) as service:
        reports = [{"run_id": f"early-{n % 9}", "report": lively(n // 9)} for n in range(990)]
        answer = httpx.post(f"{service.url}/epochs", json={"reports": reports}, timeout=30)
        assert answer.status_code == 200
        disk.fill(service, MEBIBYTE // 2)
        trainers.start()
        await trainers.until(lambda: len(trainers.refused) > len(RUNS))
        assert trainers.decisions >= 10
        uncopied = database.stat().st_size < MEBIBYTE
        disk.free(service)
        await trainers.progress(30)
        await trainers.finish()
        require_exact(service.url, trainers.told)
        service.stop()
    # A limit on every file by itself leaves room for the database.
    assert uncopied or isinstance(disk, LimitedFiles)
    assert database.stat().st_size > MEBIBYTE
    require_whole(database)


_FULL: Final = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON journal EXECUTE FUNCTION refuse()
"""


async def test_a_postgresql_whose_disk_is_full_is_told_of_and_everything_goes_on_afterwards(
    postgres_server: PostgresServer,
) -> None:
    """The server says what it says on a full disk, without one."""
    trainers = Trainers(f"http://127.0.0.1:{(port := free_port())}", run_ids=RUNS)
    with (
        postgres_server.database() as name,
        running(postgres_server.url(name), port) as service,
        httpx.Client(base_url=service.url) as http,
    ):
        trainers.start()
        await trainers.progress(30)
        with postgres_server.connect(name) as connection:
            connection.execute(_FULL)
            await trainers.until(lambda: len(trainers.refused) > 5 * len(RUNS))
            assert set(trainers.refused) == {("store_unavailable", "1")}
            assert http.get("/readyz").json()["code"] == "store_unavailable"
            require_reads(http, trainers)
            connection.execute("DROP TRIGGER full_disk ON journal")
        await trainers.progress(30)
        assert http.get("/readyz").status_code == 200
        await trainers.finish()
        require_exact(service.url, trainers.told)
        require_numbered(postgres_server.url(name), trainers.told)


_CONFINED: Final = """
import resource, sys
from tamiyo_service.store import prepare_database
from tamiyo_service.store.dialect import DatabaseUnusableError
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    prepare_database(sys.argv[1])
except DatabaseUnusableError as error:
    sys.exit(str(error))
"""


def test_a_service_that_finds_no_room_for_its_database_says_so_in_one_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tamiyo.db'}"
    command = [sys.executable, "-c", _CONFINED, url]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert re.fullmatch(rf"{url}: the disk .*full.*; free some of it.*\n", ended.stderr)
