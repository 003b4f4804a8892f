"""The columns of the archive: a contract with whoever reads it, and so written out here.

A change of them raises `FORMAT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
from tamiyo_leyline import __version__

FORMAT: Final = "3"
_TYPES: Final[Mapping[str, Any]] = {
    "int": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "flag": pa.bool_(),
    "moment": pa.timestamp("us", "UTC"),
    "texts by text": pa.map_(pa.string(), pa.string()),
}


def schema_of(table: str, version: str, **columns: str) -> pa.Schema:
    """A table's columns; a question mark marks those that may be null.

    Args:
        table: its name.
        version: of its columns.
        columns: kinds by name.
    """
    fields = [
        pa.field(name, _TYPES[kind.removesuffix("?")], nullable=kind.endswith("?"))
        for name, kind in columns.items()
    ]
    about = {"tamiyo.table": table, "tamiyo.format": version, "tamiyo.version": __version__}
    return pa.schema(fields, metadata=about)


RUNS: Final = schema_of(
    "runs",
    FORMAT,
    run_id="text",
    run_pk="int",
    config="text",
    rules_version="text",
    policy="text",
    created_at="moment",
    status="text",
    result="text?",
    chosen="text?",
    labels="texts by text",
)
JOURNAL: Final = schema_of(
    "journal",
    FORMAT,
    run_id="text",
    run_pk="int",
    seq="int",
    kind="text",
    attempt="int",
    epoch="int?",
    at="moment",
    action="text?",
    risk="int?",
    policy="text?",
    backfill="flag",
    hold="text?",
    warnings="text?",
    events="text?",
    payload="text",
    reply="text?",
    state="text",
    advice="text?",
    override="text?",
)
COMMAND_OUTCOMES: Final = schema_of(
    "command_outcomes",
    FORMAT,
    run_id="text",
    run_pk="int",
    attempt="int",
    epoch="int",
    command_id="text",
    status="text",
    known_epoch="int",
    detail="text",
    known_attempt="int?",
)
CLIENT_DECISIONS: Final = schema_of(
    "client_decisions",
    FORMAT,
    run_id="text",
    run_pk="int",
    attempt="int",
    epoch="int",
    at="moment",
    payload="text",
)
