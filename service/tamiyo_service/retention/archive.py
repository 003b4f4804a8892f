"""What a sweep asks of an archive, before it deletes anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tamiyo_service.store.expired import Belonging
from tamiyo_service.store.rows import RunRow


class ArchiveError(Exception):
    """The archive cannot be used, or did not take something: nothing was deleted; mend it and try again."""


class Draft(Protocol):
    """Runs on their way into an archive. Every method may raise `ArchiveError` and may take its time.

    Use it in one thread at a time.
    """

    def add_run(self, run: RunRow, labels: Mapping[str, str]) -> None:
        """Begin with the next run, which has these labels."""

    def add(self, kind: type[Belonging], rows: Sequence[Belonging]) -> None:
        """Add to that run."""

    def finish(self) -> None:
        """Put everything onto the disk."""

    def verify(self) -> None:
        """Read everything back, and check that all of it is there."""

    def publish(self) -> int:
        """Make a verified draft part of the archive; its bytes."""

    def discard(self) -> None:
        """Leave nothing behind, unless it is published."""


class Archive(Protocol):
    """Where runs go before they are deleted."""

    @property
    def folder(self) -> Path:
        """Where it is."""

    def prepare(self) -> None:
        """Make the archive ready for drafts.

        Raises:
            ArchiveError: if it cannot be used.
        """

    def draft(self, now: datetime) -> Draft:
        """Begin a part of the archive.

        Raises:
            ArchiveError: if it cannot be begun.
        """
