"""What a replay comes to: its reports as they travel, the counts, and where the two part ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from tamiyo_core import Decision, Engine, explain_slots
from tamiyo_core.replay import Replayed, ReplayedSlot
from tamiyo_leyline import AdaptationCommand, CommandStatus, CommandType, RunConfig
from tamiyo_leyline.replay import (
    Divergence,
    LoggedChoice,
    ReplayCounts,
    ReplayedChoice,
    ReplayItem,
    ReplaySlot,
    SettingChange,
)

_WAIT: Final = "WAIT"

_COUNTED: Final = ("reports", "agreeing", "acting", "acting_agreeing", "open_loop", "held", "backfilled")

Fates = Mapping[str, CommandStatus]
"""What became of commands in the end, as far as it is known."""


class Gathered:
    """Takes the reports of a replay in, one after the other.

    Args:
        since_epoch: of the first report that is counted; divergences are told from the beginning on.
    """

    def __init__(self, since_epoch: int) -> None:
        self._since = since_epoch
        self._counts: Counter[str] = Counter()
        self._logged: Counter[str] = Counter()
        self._replayed: Counter[str] = Counter()
        self.first: Divergence | None = None
        self.structural: Divergence | None = None

    def take(self, one: Replayed, fates: Fates) -> bool:
        """Take a report in; whether it counts."""
        if not one.agrees and self.first is None:
            self.first = _divergence(one, fates)
        if one.diverges_structurally:
            self.structural = _divergence(one, fates, structural=True)
        if one.logged.report.epoch < self._since:
            return False
        acting = acts(one)
        self._counts.update(
            reports=1,
            agreeing=one.agrees,
            acting=acting,
            acting_agreeing=acting and one.agrees,
            open_loop=one.open_loop,
            held=one.logged.hold is not None,
            backfilled=one.logged.backfill,
        )
        self._logged[one.logged_action] += 1
        self._replayed[one.step.action] += 1
        return True

    def summary(self, failure: str | None) -> dict[str, Any]:
        """The fields of a `Replay` that are known at its end."""
        count = self._counts
        return {
            "counts": ReplayCounts(
                **{name: count[name] for name in _COUNTED},
                logged=dict(sorted(self._logged.items())),
                replayed=dict(sorted(self._replayed.items())),
            ),
            "agreement": _share(count["agreeing"], count["reports"]),
            "acting_agreement": _share(count["acting_agreeing"], count["acting"]),
            "first_divergence": self.first,
            "structural_divergence": self.structural,
            "failure": failure,
        }


def acts(one: Replayed) -> bool:
    """Whether either of the two answered a report with more than WAIT."""
    return not (one.logged_action == _WAIT == one.step.action)


def item(one: Replayed, fates: Fates, engine: Engine | None) -> ReplayItem:
    """A report as it travels.

    Args:
        one: the report.
        fates: of its commands.
        engine: tells how each slot was decided; None: that is not wanted.
    """
    report, logged = one.logged.report, one.logged
    return ReplayItem(
        attempt=report.attempt,
        epoch=report.epoch,
        decision_id=logged.decision_id,
        logged_action=one.logged_action,
        replayed_action=one.step.action,
        agrees=one.agrees,
        open_loop=one.open_loop,
        held=logged.hold is not None,
        overridden=logged.override is not None and not logged.backfill,
        backfill=logged.backfill,
        slots=tuple(_slot(one, slot, fates) for slot in one.slots),
        explanation=None if engine is None else explain_slots(engine, one.step),
    )


def changes(logged: RunConfig, replayed: RunConfig) -> tuple[SettingChange, ...]:
    """The settings in which a replay differs from its run."""
    before, after = logged.model_dump(mode="json"), replayed.model_dump(mode="json")
    return tuple(
        SettingChange(name=f"{section}.{name}", logged=before[section][name], replayed=value)
        for section in ("policy", "heuristic", "learned", "tracker")
        for name, value in after[section].items()
        if before[section][name] != value
    )


def _divergence(one: Replayed, fates: Fates, *, structural: bool = False) -> Divergence:
    slots = [slot for slot in one.slots if (slot.parts if structural else not slot.agrees)]
    report = one.logged.report
    return Divergence(
        attempt=report.attempt,
        epoch=report.epoch,
        decision_id=one.logged.decision_id,
        slot=_slot(one, slots[0], fates),
    )


def _slot(one: Replayed, slot: ReplayedSlot, fates: Fates) -> ReplaySlot:
    seed = slot.decision.seed
    return ReplaySlot(
        slot_id=None if seed is None else seed.slot_id,
        seed_id=None if seed is None else seed.seed_id,
        logged=_logged(one, slot.logged, slot.logged_action, fates),
        replayed=_replayed(slot.decision),
        agrees=slot.agrees,
    )


def _logged(one: Replayed, command: AdaptationCommand | None, action: str, fates: Fates) -> LoggedChoice:
    if command is not None:
        return LoggedChoice(
            action=action,
            reason=command.reason,
            confidence=command.confidence,
            outcome=fates.get(command.command_id),
        )
    # A reply that only waits has one WAIT for all slots, with their reasons joined and the lowest confidence;
    # beside other commands it has none.
    first = one.logged.commands[0]
    waits = first.command_type is CommandType.REQUEST_STATE
    return LoggedChoice(
        action=action,
        reason=first.reason if waits else None,
        confidence=first.confidence if waits and len(one.slots) == 1 else None,
    )


def _replayed(decision: Decision) -> ReplayedChoice:
    return ReplayedChoice(
        action=decision.action.name,
        reason=decision.reason,
        confidence=decision.confidence,
        runner_up=None if decision.runner_up is None else decision.runner_up.name,
        margin=_margin(decision),
        fallback=decision.fallback,
    )


def _margin(decision: Decision) -> float | None:
    chances, chosen = decision.probabilities, decision.action.number
    if chances is None:
        return None
    others = [chance for number, chance in enumerate(chances) if number != chosen]
    return chances[chosen] - max(others, default=0.0)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
