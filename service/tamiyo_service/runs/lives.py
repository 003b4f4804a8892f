"""The lives of a run's seeds, read from what happened in order.

A rewind takes the run back along its timeline: who was alive at that epoch is alive again, and what came
later happened in an attempt that is over. Its lives stay told, with an end that a rewind discarded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import orjson
from tamiyo_core.events import germinated_blueprint
from tamiyo_core.replay import action_name
from tamiyo_leyline import CommandType, TelemetryEventType

from tamiyo_service.store.rows import Entry, InputKind, Rewind, rewind_of

_ENDS: Final = frozenset({TelemetryEventType.SEED_FOSSILIZED, TelemetryEventType.SEED_CULLED})


class Moment(NamedTuple):
    """A report."""

    attempt: int
    epoch: int
    at: int
    """When it came."""


class Issued(NamedTuple):
    """A command that changes the network, with the decision it belongs to."""

    moment: Moment
    decision_id: str
    policy: dict[str, Any]
    command: dict[str, Any]

    @property
    def command_id(self) -> str:
        """Its id."""
        return str(self.command["command_id"])

    @property
    def action(self) -> str:
        """Name of the action that it carries."""
        return action_name(CommandType(self.command["command_type"]), self.command.get("blueprint_id"))


class Life(NamedTuple):
    """A seed's life."""

    seed_id: str
    slot_id: str
    born: Moment
    """The report that first showed it."""
    asked: Issued | None
    """The last germination of its blueprint that was asked for before, if no other seed came of it."""
    ended: Moment | None = None
    """The report that showed its end."""
    fossilized: bool = False
    commands: tuple[Issued, ...] = ()
    """Those that concerned it, in order."""


class Timeline:
    """Takes the turning points of a run in, in order, and tells the lives that ended."""

    def __init__(self) -> None:
        self.finished: list[Life] = []
        """In the order of their ends."""
        self.rewinds: list[Rewind] = []
        self._lives: list[Life] = []
        self._germinations: list[Issued] = []
        self._claimed: set[str] = set()

    def take(self, entries: Iterable[Entry]) -> None:
        """Take entries in."""
        for entry in entries:
            if entry.kind is InputKind.REWIND:
                self._rewind(rewind_of(entry.attempt, entry.payload))
                continue
            events = _events(entry)
            # Also those that were told after the last report, with the run's completion.
            for event in events:
                if event["type"] in _ENDS:
                    self._end(event, Moment(entry.attempt, event["epoch"], entry.at))
            if entry.epoch is not None:
                self._report(entry, events, Moment(entry.attempt, entry.epoch, entry.at))

    def _report(self, entry: Entry, events: Sequence[dict[str, Any]], moment: Moment) -> None:
        for event in events:
            if event["type"] == TelemetryEventType.SEED_GERMINATED:
                self._begin(event, moment)
        if any(event["type"] == TelemetryEventType.COMMAND_ISSUED for event in events):
            self._issue(entry, moment)

    def _begin(self, event: dict[str, Any], moment: Moment) -> None:
        asked = self._unclaimed(germinated_blueprint(event["message"]))
        if asked is not None:
            self._claimed.add(asked.command_id)
        self._lives.append(Life(event["seed_id"], event["slot_id"], moment, asked))

    def _unclaimed(self, blueprint_id: str) -> Issued | None:
        """The latest germination of a blueprint that no seed has come of."""
        latest = (asked for asked in reversed(self._germinations) if asked.command_id not in self._claimed)
        return next((asked for asked in latest if asked.command["blueprint_id"] == blueprint_id), None)

    def _end(self, event: dict[str, Any], moment: Moment) -> None:
        number = self._alive(event["seed_id"])
        if number is None:
            return
        fossilized = event["type"] == TelemetryEventType.SEED_FOSSILIZED
        life = self._lives[number]._replace(ended=moment, fossilized=fossilized)
        self._lives[number] = life
        self.finished.append(life)

    def _issue(self, entry: Entry, moment: Moment) -> None:
        reply = orjson.loads(entry.reply or "{}")
        for command in reply["commands"]:
            issued = Issued(moment, reply["decision_id"], reply["policy"], command)
            if command["command_type"] == CommandType.GERMINATE:
                self._germinations.append(issued)
            elif (number := self._alive(command.get("target_seed_id"))) is not None:
                life = self._lives[number]
                self._lives[number] = life._replace(commands=(*life.commands, issued))

    def _alive(self, seed_id: str | None) -> int | None:
        """Where the life of a seed stands that has not ended."""
        numbers = range(len(self._lives) - 1, -1, -1)
        alive = (number for number in numbers if self._lives[number].seed_id == seed_id)
        number = next(alive, None)
        return None if number is None or self._lives[number].ended is not None else number

    def _rewind(self, rewind: Rewind) -> None:
        self.rewinds.append(rewind)
        last = rewind.kept_epoch
        self._lives = [_as_of(life, last) for life in self._lives if life.born.epoch <= last]
        self._germinations = [asked for asked in self._germinations if asked.moment.epoch <= last]
        self._claimed = {life.asked.command_id for life in self._lives if life.asked is not None}


def _events(entry: Entry) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = orjson.loads(entry.events) if entry.events else []
    return events


def _as_of(life: Life, epoch: int) -> Life:
    """A life as it was after an epoch."""
    commands = tuple(issued for issued in life.commands if issued.moment.epoch <= epoch)
    if life.ended is None or life.ended.epoch <= epoch:
        return life._replace(commands=commands)
    return life._replace(commands=commands, ended=None, fossilized=False)


def passages(life: Life, rewinds: Iterable[Rewind]) -> list[tuple[int, range]]:
    """The attempts and epochs through which a finished life led, the earliest first."""
    assert life.ended is not None
    opened_by = {rewind.attempt: rewind for rewind in rewinds}
    found, limit = [], life.ended.epoch
    for attempt in range(life.ended.attempt, life.born.attempt - 1, -1):
        first = life.born.epoch if attempt == life.born.attempt else 0
        found.append((attempt, range(first, limit + 1)))
        if attempt in opened_by:
            limit = min(limit, opened_by[attempt].kept_epoch)
    return found[::-1]
