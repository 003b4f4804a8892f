"""Reports and requests that the tests send."""

from __future__ import annotations

from typing import Any

from tamiyo_leyline import EpochReport

PLATEAU_EPOCHS = 9
"""With defaults and a constant accuracy the GERMINATE comes within this many epochs."""


def report(epoch: int, **fields: Any) -> dict[str, Any]:
    """The JSON of a small report; the accuracy stands still unless `fields` says otherwise."""
    return {"epoch": epoch, "available_slots": 1, "val_accuracy": 50.0, "val_loss": 1.0} | fields


def seed(stage: str = "TRAINING", **fields: Any) -> dict[str, Any]:
    """The JSON of one seed."""
    return {"seed_id": "seed-1", "slot_id": "slot-1", "blueprint_id": "norm", "stage": stage} | fields


def epoch_report(epoch: int, **fields: Any) -> EpochReport:
    """The same as `report`, validated."""
    return EpochReport.model_validate(report(epoch, **fields))
