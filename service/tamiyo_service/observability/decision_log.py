"""Decisions as entries of the log, for those who ask for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson
import structlog
from tamiyo_leyline import RiskLevel

from tamiyo_service.store.rows import Entry

_LOG: Final = structlog.get_logger(__name__)


def log_decisions(entries: Iterable[Entry]) -> None:
    """Write an entry of the log for every decision among some inputs, which are durable."""
    for entry in entries:
        if entry.reply is not None and entry.risk is not None:
            _LOG.info("decision", **_told(entry, RiskLevel(entry.risk), orjson.loads(entry.reply)))


def _told(entry: Entry, risk: RiskLevel, reply: dict[str, Any]) -> dict[str, Any]:
    told = {
        "run": reply["run_id"],
        "attempt": entry.attempt,
        "epoch": entry.epoch,
        "decision_id": reply["decision_id"],
        "action": entry.action,
        "risk": risk.name,
        "policy": f"{reply['policy']['name']} {reply['policy']['version']}",
    }
    advice = None if entry.advice is None else orjson.loads(entry.advice)
    return told | ({"without_advice": advice} if isinstance(advice, str) else {})
