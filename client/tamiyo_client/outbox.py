"""What the service has yet to be told, in the order it has to be told."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeAlias

from tamiyo_leyline import AdaptationCommand, CommandOutcome, CommandStatus, CommandType, EpochReport
from tamiyo_leyline.api import ClientDecision, RewindRequest

from tamiyo_client.decision import OWN_ID_PREFIX, Decision

MAX_MISSED: Final = 256
"""Reports (and decisions of the client's own) kept for a silent service; the oldest go first."""
_MAX_FOREIGN_IDS: Final = 1024
MAX_OUTCOMES: Final = 256
"""Outcomes a report may carry."""

Item: TypeAlias = EpochReport | RewindRequest


class Outbox:
    """Everything a run still has to tell, bounded.

    `missed` holds reports without an answer and rewinds, in order: epochs must reach the service in
    increasing order, so these go before the next report. A report keeps its content from the first time it is
    sent, because the service may have stored it although its answer was lost, and would refuse another.

    `outcomes` travel with the next report. Those of commands that the service never issued (the client's
    own WAITs, a fallback's commands) stay here: it would refuse the whole report for them.

    `own` holds what the trainer was told without the service; `own_due` says that some of it is new since
    the last attempt to tell it.
    """

    def __init__(self) -> None:
        self.missed: deque[Item] = deque()
        self.own: deque[ClientDecision] = deque()
        self.own_due = False
        self.outcomes: dict[str, CommandOutcome] = {}
        self._foreign_ids: deque[str] = deque(maxlen=_MAX_FOREIGN_IDS)
        self._suspected_ids: deque[str] = deque(maxlen=_MAX_FOREIGN_IDS)

    def miss(self, report: EpochReport) -> bool:
        """Keep a sealed report that got no answer; False if the oldest one had to go for it."""
        self.withdraw(report.epoch, report.attempt)
        self.delivered(report.outcomes)
        self.missed.append(report)
        if len(self.missed) <= MAX_MISSED:
            return True
        # A rewind is never dropped: every later report depends on it.
        self.give_up(next(item for item in self.missed if isinstance(item, EpochReport)))
        return False

    def give_up(self, report: EpochReport) -> None:
        """Drop a missed report; the outcomes it carried travel with the next one."""
        self._take_back(report)

    def give_up_failing(self, report: EpochReport) -> None:
        """Drop a missed report that the service fails at.

        Its outcomes travel with the next one, but not twice: they may be what the service fails at.
        """
        self.missed.remove(report)
        for outcome in report.outcomes:
            if outcome.command_id not in self._suspected_ids:
                self._suspected_ids.append(outcome.command_id)
                self.outcomes.setdefault(outcome.command_id, outcome)

    def give_up_all(self) -> int:
        """Drop every missed report; return how many there were."""
        reports = [item for item in self.missed if isinstance(item, EpochReport)]
        for report in reports:
            self.give_up(report)
        return len(reports)

    def withdraw(self, epoch: int, attempt: int) -> None:
        """Forget a missed report that is about to be made again; its outcomes travel with that."""
        for item in tuple(self.missed):
            if isinstance(item, EpochReport) and (item.epoch, item.attempt) == (epoch, attempt):
                self._take_back(item)

    def rewind(self, request: RewindRequest) -> None:
        """Queue a rewind; what it discards need not be told any more."""
        last = -1 if request.to_epoch is None else request.to_epoch
        self.missed = deque(
            item for item in self.missed if isinstance(item, RewindRequest) or item.epoch <= last
        )
        self.outcomes.clear()
        self.missed.append(request)

    def shift_attempts(self, by: int) -> None:
        """Count all queued attempts from `by`: a run that starts late learns only then where it stands."""
        self.missed = deque(item.model_copy(update={"attempt": item.attempt + by}) for item in self.missed)
        self.own = deque(item.model_copy(update={"attempt": item.attempt + by}) for item in self.own)

    def own_decision(self, decision: Decision) -> None:
        """Remember what the trainer was told without the service."""
        self._foreign_ids.extend(command.command_id for command in decision.commands)
        self.own.append(
            ClientDecision(
                epoch=decision.epoch,
                attempt=decision.attempt,
                commands=decision.commands,
                reason=decision.reason,
            )
        )
        self.own_due = True
        if len(self.own) > MAX_MISSED:
            self.own.popleft()

    def add_outcomes(self, outcomes: Iterable[CommandOutcome]) -> None:
        """Queue outcomes of commands the service issued; the latest word on a command counts."""
        for outcome in outcomes:
            known = outcome.command_id
            if not known.startswith(OWN_ID_PREFIX) and known not in self._foreign_ids:
                self.outcomes[known] = outcome
        while len(self.outcomes) > MAX_OUTCOMES:
            del self.outcomes[next(iter(self.outcomes))]

    def never_received(self, commands: Iterable[AdaptationCommand]) -> None:
        """Queue word that these commands came too late to be carried out."""
        self.add_outcomes(
            CommandOutcome(
                command_id=command.command_id,
                status=CommandStatus.EXPIRED,
                detail="the answer with this command reached the trainer too late",
            )
            for command in commands
            if command.command_type is not CommandType.REQUEST_STATE
        )

    def sealed(self, report: EpochReport, attempt: int) -> EpochReport:
        """`report` as it is sent from now on: with the run's attempt and all queued outcomes."""
        self.add_outcomes(report.outcomes)
        return report.model_copy(update={"attempt": attempt, "outcomes": tuple(self.outcomes.values())})

    def delivered(self, outcomes: Iterable[CommandOutcome]) -> None:
        """Forget these outcomes, unless something newer was said since."""
        for outcome in outcomes:
            if self.outcomes.get(outcome.command_id) == outcome:
                del self.outcomes[outcome.command_id]

    def _take_back(self, report: EpochReport) -> None:
        self.missed.remove(report)
        for outcome in report.outcomes:
            self.outcomes.setdefault(outcome.command_id, outcome)
