"""Where archives are opened; what they are written with is imported then."""

from __future__ import annotations

from pathlib import Path

from tamiyo_service.retention.archive import Archive, ArchiveError


def open_archive(folder: Path) -> Archive:
    """The Parquet archive in a folder; the folder is made if need be.

    Raises:
        ArchiveError: if it cannot be used, or pyarrow is not installed.
    """
    try:
        # 170 MB that only an archive needs.
        from tamiyo_service.retention.parquet import ParquetArchive
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise ArchiveError(
            "an archive needs pyarrow: pip install 'esper-tamiyo[parquet]', or set no archive"
        ) from error
    archive = ParquetArchive(folder)
    archive.prepare()
    return archive
