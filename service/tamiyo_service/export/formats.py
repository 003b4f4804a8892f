"""What an export is written as. A format takes pages of decisions and gives pieces of the file."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator, Awaitable, Callable
from enum import StrEnum
from typing import Final

from tamiyo_service.errors import InvalidQueryError
from tamiyo_service.export.flat import COLUMNS, row_of, written
from tamiyo_service.export.reading import Pages, Told

Line = Callable[[Told], Awaitable[str]]


class Format(StrEnum):
    """The formats, by the ending of their files."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


MEDIA_TYPES: Final = {
    Format.NDJSON: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8",
    Format.PARQUET: "application/vnd.apache.parquet",
}


async def as_ndjson(pages: Pages, line: Line) -> AsyncGenerator[bytes, None]:
    """One JSON object a line, as `line` writes it."""
    async for page in pages:
        lines = [await line(told) for told in page]
        if lines:
            yield "\n".join([*lines, ""]).encode()


async def as_csv(pages: Pages) -> AsyncGenerator[bytes, None]:
    """Comma-separated values (RFC 4180) with a line of names."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    async for page in pages:
        rows.writerows([written(value) for value in row_of(told).values()] for told in page)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def parquet_of(pages: Pages) -> AsyncGenerator[bytes, None]:
    """A Parquet file.

    Raises:
        InvalidQueryError: if pyarrow is not installed.
    """
    try:
        from tamiyo_service.export.parquet import as_parquet
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise InvalidQueryError(
            "parquet needs pyarrow, which this service has not: pip install 'esper-tamiyo[parquet]', "
            "or take ndjson or csv",
            field="format",
        ) from error
    return as_parquet(pages)
