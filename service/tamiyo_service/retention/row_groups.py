"""Rows into a Parquet file, a row group at a time: what is kept in memory is bounded."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

_GROUP_ROWS: Final = 10_000
_GROUP_BYTES: Final = 8 * 2**20
"""Rows are kept until they make a row group of this size."""


class RowGroups:
    """Writes rows to an open file.

    Args:
        file: takes bytes.
        schema: of the rows.
    """

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self.written = 0
        """Rows that are in the file."""
        self._schema = schema
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0
        self._writer = parquet.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True)

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Take rows by column; write a row group when they make one."""
        # A few rows at a time: the interpreter belongs to the conversion until it is done.
        self._batches.append(pa.RecordBatch.from_pylist(rows, schema=self._schema))
        self._rows += len(rows)
        if self._rows >= _GROUP_ROWS or sum(batch.nbytes for batch in self._batches) >= _GROUP_BYTES:
            self._write_group()

    def finish(self) -> None:
        """Write what is left, and the end of the file."""
        if self._batches:
            self._write_group()
        self._writer.close()

    def abandon(self) -> None:
        """Close without what is left."""
        self._writer.close()

    def _write_group(self) -> None:
        group = pa.Table.from_batches(self._batches, schema=self._schema)
        self._batches, self._rows = [], 0
        self._writer.write_table(group, row_group_size=group.num_rows)
        self.written += group.num_rows
