"""The archive as Parquet files, one folder for each table, one file in each for every part.

::

    ARCHIVE/
      runs/20260401T031500Z-x7k2ab9q.parquet               a part has the same name in every folder
      journal/20260401T031500Z-x7k2ab9q.parquet
      command_outcomes/20260401T031500Z-x7k2ab9q.parquet
      client_decisions/20260401T031500Z-x7k2ab9q.parquet
      .writing-…/                                          a part that is not finished

A part is written under ``.writing-…``, synced, read back, and then moved, `runs` last: a run that is found
there is complete in the other folders.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

from tamiyo_service.retention.archive import ArchiveError
from tamiyo_service.retention.columns import CLIENT_DECISIONS, COMMAND_OUTCOMES, JOURNAL, RUNS
from tamiyo_service.retention.row_groups import RowGroups
from tamiyo_service.store.expired import Belonging
from tamiyo_service.store.rows import ClientDecisionRow, Entry, OutcomeRow, RunRow

_SCHEMAS: Final[dict[type[Any], pa.Schema]] = {
    # In the order in which files are moved into place.
    Entry: JOURNAL,
    OutcomeRow: COMMAND_OUTCOMES,
    ClientDecisionRow: CLIENT_DECISIONS,
    RunRow: RUNS,
}
_WRITING: Final = ".writing-"
_ABANDONED_AFTER: Final = timedelta(days=1)


class ParquetArchive:
    """An archive in a folder. See `Archive` for the methods."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder.absolute()

    def prepare(self) -> None:
        """Make the folder, and see that it can be written."""
        with _told(self.folder):
            for schema in _SCHEMAS.values():
                (self.folder / _table(schema)).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as probe:
                probe.write(b"tamiyo")

    def draft(self, now: datetime) -> ParquetDraft:
        """Begin a part; what a killed process has left of its own goes away after a day."""
        with _told(self.folder):
            self._clear(now)
            return ParquetDraft(self.folder, now)

    def _clear(self, now: datetime) -> None:
        for left in self.folder.glob(f"{_WRITING}*"):
            if now - datetime.fromtimestamp(left.stat().st_mtime, UTC) > _ABANDONED_AFTER:
                shutil.rmtree(left)


class ParquetDraft:
    """A part of the archive while it is written. See `Draft` for the methods."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self._folder = folder
        self.place: Final = Path(tempfile.mkdtemp(prefix=_WRITING, dir=folder))
        stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._name = f"{stamp}-{self.place.name.removeprefix(_WRITING)}.parquet"
        self._run: RunRow | None = None
        try:
            self._tables = {kind: _Table(self.place, schema) for kind, schema in _SCHEMAS.items()}
        except OSError:
            shutil.rmtree(self.place, ignore_errors=True)
            raise

    def add_run(self, run: RunRow, labels: Mapping[str, str]) -> None:
        """Begin with the next run, which has these labels."""
        self._run = run
        with _told(self._folder):
            self._tables[RunRow].add([run._asdict() | {"labels": list(labels.items())}])

    def add(self, kind: type[Belonging], rows: Sequence[Belonging]) -> None:
        """Add to that run."""
        assert self._run is not None
        name = {"run_id": self._run.run_id}
        with _told(self._folder):
            self._tables[kind].add([row._asdict() | name for row in rows])

    def finish(self) -> None:
        """Close and sync the files."""
        with _told(self._folder):
            for table in self._tables.values():
                table.close()

    def verify(self) -> None:
        """Read the files back."""
        with _told(self._folder):
            for table in self._tables.values():
                table.verify()

    def publish(self) -> int:
        """Move the files into place."""
        size = 0
        with _told(self._folder):
            for table in self._tables.values():
                size += table.path.stat().st_size
                target = self._folder / table.name / self._name
                table.path.rename(target)
                _sync(target.parent)
            self.place.rmdir()
        return size

    def discard(self) -> None:
        """Remove what is written."""
        for table in self._tables.values():
            table.abandon()
        shutil.rmtree(self.place, ignore_errors=True)


class _Table:
    """One file on its way."""

    def __init__(self, place: Path, schema: pa.Schema) -> None:
        self.name = _table(schema)
        self.path = place / f"{self.name}.parquet"
        self._schema = schema
        # Opened here: pyarrow reports a failed close of a file that it opened itself to nobody.
        self._file = self.path.open("xb")
        self._groups = RowGroups(self._file, schema)

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Take rows by column."""
        self._groups.add(rows)

    def close(self) -> None:
        """Write what is left, and see it onto the disk."""
        self._groups.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def verify(self) -> None:
        """Return if every row can be read back.

        Raises:
            OSError: if not.
        """
        with parquet.ParquetFile(self.path, page_checksum_verification=True) as file:
            groups = range(file.metadata.num_row_groups)
            found = sum(file.read_row_group(group).num_rows for group in groups)
            if found != self._groups.written or not file.schema_arrow.equals(self._schema):
                raise OSError(f"{self.path}: {found} of {self._groups.written} rows could be read back")

    def abandon(self) -> None:
        """Close without finishing; what cannot be written any more is not wanted either."""
        for close in (self._groups.abandon, self._file.close):
            with suppress(OSError, pa.ArrowException):
                close()


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turns what goes wrong with files into an `ArchiveError`."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise ArchiveError(
            f"the archive {folder} cannot be written ({error}); nothing was deleted: "
            "free its disk, or make sure that Tamiyo may write there"
        ) from error


def _table(schema: pa.Schema) -> str:
    name: str = schema.metadata[b"tamiyo.table"].decode()
    return name


def _sync(folder: Path) -> None:
    """Make a renaming durable; systems that cannot open folders do it by themselves."""
    if os.name == "nt":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
