"""Getting to the service what it has to know, in order and within a deadline."""

from __future__ import annotations

import logging
from itertools import islice
from typing import Final

from tamiyo_leyline import EpochReport, RunResult, RunStatus
from tamiyo_leyline.api import RewindRequest

from tamiyo_client.calls import (
    Answered,
    Standing,
    get_standing,
    post_client_decisions,
    post_complete,
    post_epoch,
    post_outcome,
    post_rewind,
    put_run,
)
from tamiyo_client.conduct import Conduct
from tamiyo_client.errors import (
    EpochConflictError,
    InvalidRequestError,
    ProtocolError,
    RefusedError,
    ServiceBusyError,
    ServiceFaultError,
    SilenceError,
    StaleEpochError,
    TamiyoError,
)
from tamiyo_client.outbox import Item, Outbox
from tamiyo_client.outcomes import unknown_outcomes
from tamiyo_client.plan import Rewind, RunPlan, require_startable
from tamiyo_client.wire import Conversation, Deadline

logger = logging.getLogger("tamiyo_client")

CATCH_UP_SHARE: Final = 0.5
"""Share of a call's deadline that earlier reports may take before the current one is put off too."""
OWN_DECISIONS_SHARE: Final = 0.25
"""Share of a call's deadline that bookkeeping may take once the decision is in hand."""
OWN_DECISIONS_PER_CALL: Final = 64
_NAMED: Final = 5
"""Commands named in a warning about several."""
LAST_CATCH_UP_SHARE: Final = 0.75
"""The same for the last call of a run, in which only its end is still to be told."""
_SUSPECT_SHARE: Final = 0.5
"""Share of the time left that a missed report may take which failed before, or after which nothing comes."""


class Delivery:
    """One run's line to the service: start it, catch up, report, tell the rest, complete.

    Args:
        plan: what the run is to be.
        conduct: the client's settings.
    """

    def __init__(self, plan: RunPlan, conduct: Conduct) -> None:
        self.plan: Final = plan
        self.outbox: Final = Outbox()
        self.started = False
        self.attempt = 0
        """The run's attempt; before the start, the number of rewinds since the training began."""
        self.sent: EpochReport | None = None
        """The current report as it was last sent; None: not sent yet."""
        self._conduct: Final = conduct
        self._opening: RewindRequest | None = None
        self._suspect: Item | None = None
        """The missed report that failed when it was last sent."""

    def start(self, deadline: Deadline) -> Conversation[None]:
        """PUT the run and resume it as planned; nothing happens if that is done already.

        Raises:
            TamiyoError: if it cannot start.
        """
        if self.started:
            return
        standing = yield from self._conduct.ask(put_run(self.plan.run_id, self.plan.config), deadline)
        require_startable(standing, self.plan)
        first = standing.attempt
        if isinstance(self.plan.resume, Rewind) and _can_rewind(standing):
            # The same attempt as in an earlier try: if only its answer was lost, this answers the same.
            if self._opening is None or self._opening.attempt < first:
                self._opening = RewindRequest(to_epoch=self.plan.resume.to_epoch, attempt=first + 1)
            reply = yield from self._conduct.ask(post_rewind(self.plan.run_id, self._opening), deadline)
            first = reply.attempt
        self.outbox.shift_attempts(first)
        self.attempt += first
        self.started = True

    def catch_up(self, deadline: Deadline, *, last: bool = False) -> Conversation[bool]:
        """Send the missed reports and rewinds in order; False if time did not suffice for all.

        A report that never gets through (a proxy refuses it, the service fails at it) must not keep the later
        ones back for ever. One that failed is a suspect: next time the service is first asked how the run
        stands. If it answers that and fails at the report again, the report is given up; a silent service is
        waited for.

        Args:
            deadline: of the call.
            last: whether this is the run's last call, so that a suspect gets its second try in it.

        Raises:
            TamiyoError: if the service is silent, fails, or refuses more than a single report.
        """
        share = LAST_CATCH_UP_SHARE if last else CATCH_UP_SHARE
        reserve_s = self._conduct.deadline_s * (1.0 - share)
        while self.outbox.missed:
            if deadline.remaining_s() < reserve_s:
                return False
            item = self.outbox.missed[0]
            is_suspect = item is self._suspect
            if is_suspect:
                yield from self._conduct.ask(get_standing(self.plan.run_id), deadline)
            try:
                yield from self._send_missed(item, _part(deadline) if is_suspect or last else deadline)
            except (SilenceError, ProtocolError) as error:
                if isinstance(error, ServiceBusyError) or isinstance(item, RewindRequest):
                    raise
                if is_suspect:
                    self._give_up_suspect(item, error)
                else:
                    self._suspect = item
                    if not last:
                        raise
            else:
                if self.outbox.missed and self.outbox.missed[0] is item:
                    self.outbox.missed.popleft()
        return True

    def report(self, sealed: EpochReport, deadline: Deadline) -> Conversation[Answered]:
        """Report the current epoch; without the outcomes of commands that the service never issued.

        Raises:
            TamiyoError: if there is no usable answer.
        """
        while True:
            self.sent = sealed
            try:
                answered = yield from self._conduct.ask(post_epoch(self.plan.run_id, sealed), deadline)
            except InvalidRequestError as error:
                sealed = self._mended(sealed, error)
                continue
            self.outbox.delivered(sealed.outcomes)
            return answered

    def tell_own_decisions(self, deadline: Deadline) -> Conversation[None]:
        """Tell what the trainer followed while the service was silent; trouble with that is only logged."""
        share_s = min(deadline.remaining_s(), self._conduct.deadline_s * OWN_DECISIONS_SHARE)
        own_deadline = Deadline.after(share_s, deadline.clock)
        self.outbox.own_due = False
        while self.outbox.own:
            batch = tuple(islice(self.outbox.own, OWN_DECISIONS_PER_CALL))
            try:
                yield from self._conduct.ask(post_client_decisions(self.plan.run_id, batch), own_deadline)
            except SilenceError as error:
                logger.debug("run %s: own decisions are told later: %s", self.plan.run_id, error)
                return
            except TamiyoError as error:
                logger.warning("run %s: own decisions were not taken: %s", self.plan.run_id, error)
            for _ in batch:
                self.outbox.own.popleft()

    def flush(self, deadline: Deadline) -> Conversation[None]:
        """Tell everything there is to tell: missed reports, outcomes, own decisions.

        Raises:
            TamiyoError: if the service is silent, or refuses more than a single report.
        """
        yield from self.start(deadline)
        if not (yield from self.catch_up(deadline, last=True)):
            logger.warning(
                "run %s: no time to tell %d earlier reports", self.plan.run_id, len(self.outbox.missed)
            )
        for outcome in tuple(self.outbox.outcomes.values()):
            try:
                yield from self._conduct.ask(post_outcome(self.plan.run_id, outcome), deadline)
            except (RefusedError, ServiceFaultError) as error:
                logger.warning("run %s: an outcome was not taken: %s", self.plan.run_id, error)
            self.outbox.delivered((outcome,))
        yield from self.tell_own_decisions(deadline)

    def complete(self, result: RunResult, deadline: Deadline) -> Conversation[None]:
        """Close the run.

        Raises:
            TamiyoError: if the service is silent or refuses.
        """
        yield from self._conduct.ask(post_complete(self.plan.run_id, result), deadline)

    def _send_missed(self, item: Item, deadline: Deadline) -> Conversation[None]:
        if isinstance(item, RewindRequest):
            yield from self._conduct.ask(post_rewind(self.plan.run_id, item), deadline)
            return
        call = post_epoch(self.plan.run_id, item, backfill=True)
        try:
            answered = yield from self._conduct.ask(call, deadline)
        except (EpochConflictError, StaleEpochError, InvalidRequestError) as error:
            if unknown_outcomes(item, error):
                self.outbox.missed[0] = self._mended(item, error)
                return
            logger.warning("run %s: epoch %d was told too late: %s", self.plan.run_id, item.epoch, error)
            self.outbox.give_up(item)
            return
        self.outbox.never_received(answered.reply.commands)

    def _mended(self, report: EpochReport, error: TamiyoError) -> EpochReport:
        """`report` without the outcomes that `error` refuses; they are forgotten.

        Raises:
            TamiyoError: `error` itself, if it refuses something else or the caller wants to know of it.
        """
        refused = unknown_outcomes(report, error)
        if refused:
            # A warning is enough: the epoch itself is decided.
            names = ", ".join(outcome.command_id for outcome in refused[:_NAMED])
            run_id, count = self.plan.run_id, len(refused)
            logger.warning("run %s: %d outcomes are dropped (%s): %s", run_id, count, names, error)
        self.outbox.delivered(refused)
        if not refused or self._conduct.strict:
            raise error
        kept = tuple(outcome for outcome in report.outcomes if outcome not in refused)
        return report.model_copy(update={"outcomes": kept})

    def _give_up_suspect(self, report: EpochReport, error: TamiyoError) -> None:
        run_id = self.plan.run_id
        logger.error("run %s: epoch %d is given up, it does not get through: %s", run_id, report.epoch, error)
        self.outbox.give_up_failing(report)


def _part(deadline: Deadline) -> Deadline:
    return Deadline.after(deadline.remaining_s() * _SUSPECT_SHARE, deadline.clock)


def _can_rewind(standing: Standing) -> bool:
    return standing.has_history or standing.status is RunStatus.COMPLETED
