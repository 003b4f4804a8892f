"""A consistent copy of a live SQLite database.

SQLite's online backup copies pages in steps, and begins again whenever another process writes in between:
with a busy service it would never end. So the copy is made within one read transaction, which sees the
database as it was when it began and keeps no writer waiting in WAL mode. What it costs is that the
write-ahead log cannot be shortened until the copy is complete.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from tamiyo_service.store.database import shown

Progress = Callable[[int, int], None]
"""Called with the pages copied so far and the pages in all."""

_STEP_PAGES: Final = 1_024
_PATIENCE_SECONDS: Final = 5.0


class BackupError(Exception):
    """There is no copy; the message says why and what to do. Nothing else was changed."""


@dataclass(frozen=True)
class Backup:
    """A finished copy.

    Attributes:
        file: where it is.
        runs: in the copy.
        decisions: in the copy.
        size_bytes: of the file.
        seconds: how long it took, its check included.
    """

    file: Path
    runs: int
    decisions: int
    size_bytes: int
    seconds: float


def back_up(url: str, file: Path, *, overwrite: bool = False, progress: Progress | None = None) -> Backup:
    """Copy an SQLite database, which may be in use, to a file, which is there whole or not at all.

    Args:
        url: of the database.
        file: the copy.
        overwrite: whether an existing file is replaced.
        progress: told of after every step.

    Raises:
        BackupError: if there is no copy.
    """
    began = time.monotonic()
    source = _source(url)
    target = _target(file, source, overwrite=overwrite)
    with _told(source, target), _unfinished(target) as draft:
        _copy(source, draft, progress)
        runs, decisions = _checked(draft)
        shutil.copymode(source, draft)
        _sync(draft)
        if target.exists() and not overwrite:
            raise BackupError(f"{target} has come into being meanwhile; name another file, or overwrite it")
        draft.replace(target)
        _sync(target.parent)
    seconds = round(time.monotonic() - began, 3)
    return Backup(target, runs, decisions, target.stat().st_size, seconds)


def _source(url: str) -> Path:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise BackupError("that is no database URL; write sqlite:///tamiyo.db") from error
    if parsed.get_backend_name() == "postgresql":
        raise BackupError(_pg_dump(parsed))
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise BackupError(f"{shown(parsed)} names no SQLite file; write sqlite:///tamiyo.db")
    source = Path(parsed.database).absolute()
    if not source.is_file():
        raise BackupError(f"there is no database {source}; name it with --database-url")
    return source


def _pg_dump(url: URL) -> str:
    return (
        "PostgreSQL makes consistent copies itself, while the service runs: "
        f"pg_dump --format=custom --file=tamiyo.dump '{shown(url.set(drivername='postgresql'))}'"
    )


def _target(file: Path, source: Path, *, overwrite: bool) -> Path:
    target = file.absolute()
    if not target.parent.is_dir():
        raise BackupError(f"there is no folder {target.parent}; make it, or name another")
    if target.is_dir():
        raise BackupError(f"{target} is a folder; name a file in it")
    beside = {source.with_name(source.name + ending) for ending in ("", "-wal", "-shm", "-journal")}
    if target.resolve() in {path.resolve() for path in beside}:
        raise BackupError(f"{target} belongs to the database itself; name another file")
    if target.exists() and not overwrite:
        raise BackupError(f"{target} exists; name another file, or overwrite it with --force")
    return target


@contextmanager
def _told(source: Path, target: Path) -> Iterator[None]:
    """Turns what goes wrong with files into a `BackupError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise BackupError(f"{source} could not be copied to {target}: {error}") from error


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """An empty file beside the target; gone at the end, unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(descriptor)
    draft = Path(name)
    try:
        yield draft
    finally:
        for ending in ("", "-journal", "-wal", "-shm"):
            draft.with_name(draft.name + ending).unlink(missing_ok=True)


def _copy(source: Path, draft: Path, progress: Progress | None) -> None:
    with closing(_connect(source)) as reader, closing(_connect(draft)) as writer:
        # A transaction begins with its first look, and from then on sees nothing new.
        reader.execute("BEGIN")
        if reader.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal'").fetchone() is None:
            raise BackupError(f"{source} is no database of Tamiyo; name another with --database-url")
        tell = None if progress is None else lambda _status, left, pages: progress(pages - left, pages)
        reader.backup(writer, pages=_STEP_PAGES, progress=tell)
        # A copy that needs no files beside it, and can be read from where nothing can be written.
        writer.execute("PRAGMA journal_mode=DELETE")


def _checked(draft: Path) -> tuple[int, int]:
    """Runs and decisions in the copy, once every page of it has been looked at."""
    with closing(_connect(draft)) as connection:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise BackupError(f"the copy is damaged, and so may be the database: {found}")
        (runs,) = connection.execute("SELECT count(*) FROM runs").fetchone()
        (decisions,) = connection.execute("SELECT count(*) FROM journal WHERE epoch IS NOT NULL").fetchone()
        return int(runs), int(decisions)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that is there."""
    return sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=_PATIENCE_SECONDS, isolation_level=None
    )


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
