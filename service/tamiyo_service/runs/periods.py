"""Periods of a run, gathered report by report: plateaus, embargoes and holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tamiyo_leyline import CommandType, SeedStage, TelemetryEventType

from tamiyo_service.runs.series_shapes import Period

_CULLED: Final = TelemetryEventType.SEED_CULLED.value
_EXECUTED: Final = TelemetryEventType.COMMAND_EXECUTED.value
_PLATEAU: Final = TelemetryEventType.PLATEAU_DETECTED.value
_ENDS_PLATEAU: Final = frozenset(
    kind.value
    for kind in (
        TelemetryEventType.IMPROVEMENT_DETECTED,
        TelemetryEventType.SEED_GERMINATED,
        TelemetryEventType.SEED_CULLED,
        TelemetryEventType.SEED_FOSSILIZED,
    )
)
_SURGICAL: Final = frozenset({SeedStage.TRAINING.name, SeedStage.BLENDING.name})
"""Stages whose beginning changes the host, so that a plateau is counted anew."""

Events = Sequence[Mapping[str, Any]]
Seeds = Sequence[Mapping[str, Any]]


class Plateaus:
    """Gathers plateaus.

    Attributes:
        found: so far.
    """

    def __init__(self) -> None:
        self.found: list[Period] = []
        self._first: int | None = None
        self._last = 0

    def take(self, epoch: int, events: Events, seeds: Seeds) -> None:
        """Take a report in."""
        kinds = {event["type"] for event in events}
        if kinds & _ENDS_PLATEAU or _moved_surgically(events, seeds):
            self.end()
        if _PLATEAU in kinds and self._first is None:
            self._first = epoch
        self._last = epoch

    def end(self) -> None:
        """End the present plateau, with the report before; at the end of the reports with the last."""
        if self._first is not None:
            self.found.append(Period(first_epoch=self._first, last_epoch=self._last))
        self._first = None


class Embargoes:
    """Gathers embargoes.

    Args:
        length: of an embargo, in epochs.

    Attributes:
        found: so far; the last one may end with an epoch that is yet to come.
    """

    def __init__(self, length: int) -> None:
        self.found: list[Period] = []
        self._length = length
        self._seeds: set[str] = set()
        self._commands: dict[str, str] = {}
        """The seeds of culls that were asked for, by command."""

    def take(self, epoch: int, events: Events, commands: Sequence[Mapping[str, Any]]) -> None:
        """Take a report in, with the commands that answered it."""
        for event in events:
            if event["type"] == TelemetryEventType.SEED_GERMINATED.value:
                self._seeds.discard(event["seed_id"])
            seed_id = self._culled(event)
            if seed_id is not None and seed_id not in self._seeds:
                self._seeds.add(seed_id)
                self._begin(epoch)
        for command in commands:
            if command["command_type"] == CommandType.CULL.value:
                self._commands[command["command_id"]] = command["target_seed_id"]

    def _culled(self, event: Mapping[str, Any]) -> str | None:
        if event["type"] == _CULLED:
            return str(event["seed_id"])
        return self._commands.get(event.get("command_id") or "") if event["type"] == _EXECUTED else None

    def _begin(self, epoch: int) -> None:
        if not self._length:
            return
        if self.found and self.found[-1].last_epoch >= epoch - 1:
            # A further cull begins the embargo anew.
            epoch_before = self.found.pop().first_epoch
        else:
            epoch_before = epoch
        self.found.append(Period(first_epoch=epoch_before, last_epoch=epoch + self._length - 1))


class Holds:
    """Gathers holds.

    Attributes:
        found: so far.
    """

    def __init__(self) -> None:
        self.found: list[Period] = []
        self._before: str | None = None

    def take(self, epoch: int, hold: str | None) -> None:
        """Take a report in, with the hold it was decided under."""
        if hold is not None:
            first = epoch
            if hold == self._before and self.found:
                first = self.found.pop().first_epoch
            self.found.append(Period(first_epoch=first, last_epoch=epoch, reason=hold))
        self._before = hold


def _moved_surgically(events: Events, seeds: Seeds) -> bool:
    moved = {event["seed_id"] for event in events if event["type"] == "SEED_STAGE_CHANGED"}
    return bool(moved) and any(seed["seed_id"] in moved and seed["stage"] in _SURGICAL for seed in seeds)
