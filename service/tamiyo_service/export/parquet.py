"""An export as a Parquet file, given away while it is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import pyarrow as pa

from tamiyo_service.export.flat import COLUMNS, row_of
from tamiyo_service.export.reading import Pages
from tamiyo_service.retention.columns import schema_of
from tamiyo_service.retention.row_groups import RowGroups

FORMAT: Final = "1"
SCHEMA: Final[pa.Schema] = schema_of("decisions", FORMAT, **COLUMNS)


async def as_parquet(pages: Pages) -> AsyncGenerator[bytes, None]:
    """The pieces of a file with one row for each decision."""
    sink = _Sink()
    groups = RowGroups(sink, SCHEMA)
    async for page in pages:
        if page:
            await asyncio.to_thread(groups.add, [row_of(told) for told in page])
        if piece := sink.taken():
            yield piece
    await asyncio.to_thread(groups.finish)
    yield sink.taken()


class _Sink:
    """A file that keeps only what nobody has taken yet."""

    closed = False

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> int:
        """Take bytes in."""
        self._kept.append(bytes(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        """How much was written in all."""
        return self._size

    def flush(self) -> None:
        """Return: there is nowhere to write to."""

    def close(self) -> None:
        """End the file."""
        self.closed = True

    def taken(self) -> bytes:
        """What is there, which is kept no longer."""
        piece = b"".join(self._kept)
        self._kept.clear()
        return piece
