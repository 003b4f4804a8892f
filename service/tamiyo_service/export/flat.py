"""A decision as one row of a table: the columns of CSV and Parquet files."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Final

import orjson
from tamiyo_leyline import RiskLevel

from tamiyo_service.clock import from_micros
from tamiyo_service.export.reading import Told
from tamiyo_service.runs.timeline import is_superseded, told_of

COLUMNS: Final = {
    "run_id": "text",
    "attempt": "int",
    "epoch": "int",
    "decision_id": "text",
    "decided_at": "moment",
    "action": "text",
    "risk": "text",
    "policy": "text",
    "policy_version": "text",
    "policy_sha256": "text?",
    "superseded": "flag",
    "backfill": "flag",
    "hold": "text?",
    "override": "text?",
    "command_type": "text",
    "target_seed_id": "text?",
    "target_slot_id": "text?",
    "blueprint_id": "text?",
    "confidence": "number",
    "reason": "text",
    "became": "text?",
    "global_step": "int",
    "train_loss": "number?",
    "val_loss": "number?",
    "train_accuracy": "number?",
    "val_accuracy": "number?",
    "available_slots": "int",
    "seeds": "int",
    "warnings": "text?",
    "commands": "text",
    "outcomes": "text?",
}
"""Names and kinds; a question mark marks what may be missing. Command columns tell of the first command."""
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def row_of(told: Told) -> dict[str, Any]:
    """The row of a decision, by column."""
    entry = told.entry
    reply, report = orjson.loads(entry.reply or "{}"), orjson.loads(entry.payload)
    policy, command = reply["policy"], reply["commands"][0]
    known = told_of(told.entry.key, told.outcomes, told.rewinds)
    became = {row.command_id: row.status for row in known}
    outcomes = [_outcome(row) for row in known]
    return {
        "run_id": told.run_id,
        "attempt": entry.attempt,
        "epoch": entry.epoch,
        "decision_id": reply["decision_id"],
        "decided_at": from_micros(entry.at),
        "action": entry.action,
        "risk": RiskLevel(entry.risk or RiskLevel.GREEN).name,
        "policy": policy["name"],
        "policy_version": policy["version"],
        "policy_sha256": policy.get("sha256"),
        "superseded": is_superseded(entry.attempt, entry.epoch or 0, told.rewinds),
        "backfill": bool(entry.backfill),
        "hold": entry.hold,
        "override": None if entry.backfill else entry.override,
        "command_type": command["command_type"],
        "target_seed_id": command.get("target_seed_id"),
        "target_slot_id": command.get("target_slot_id"),
        "blueprint_id": command.get("blueprint_id"),
        "confidence": command["confidence"],
        "reason": command["reason"],
        "became": became.get(command["command_id"]),
        "global_step": report.get("global_step", 0),
        "train_loss": _number(report.get("train_loss")),
        "val_loss": _number(report.get("val_loss")),
        "train_accuracy": report.get("train_accuracy"),
        "val_accuracy": report.get("val_accuracy"),
        "available_slots": report["available_slots"],
        "seeds": len(report.get("seeds", ())),
        "warnings": "; ".join(orjson.loads(entry.warnings)) if entry.warnings else None,
        "commands": orjson.dumps(reply["commands"]).decode(),
        "outcomes": orjson.dumps(outcomes).decode() if outcomes else None,
    }


def written(value: Any) -> str:
    """A value as a cell of a CSV file that spreadsheets, too, take for what it is."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str):
        return _harmless(value)
    return str(value)


def _harmless(text: str) -> str:
    """The text, marked as such where a spreadsheet would take it for a formula.

    OWASP, "CSV Injection": a cell that begins with one of these characters gets an apostrophe before it.
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def _number(value: float | str | None) -> float | None:
    return _NOT_FINITE[value] if isinstance(value, str) else value


def _outcome(row: Any) -> dict[str, Any]:
    return {
        "command_id": row.command_id,
        "status": row.status,
        "epoch": row.known_epoch,
        "detail": row.detail,
    }
