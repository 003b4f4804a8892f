"""One run as the trainer sees it: an answer for every epoch, whatever the service does.

What happens at each report, in this order and all of it within one deadline:

1. A service that has been silent lately is left alone for a while: WAIT at once (see `retry.Circuit`).
2. A run that could not be started yet is started.
3. Earlier reports that got no answer are sent, oldest first, marked as late. Epochs have to reach the service
   in increasing order, so they cannot go after the current one; and a history without holes is worth more
   to the tracker than a decision one epoch sooner, so while half the deadline does not suffice for them the
   current report joins them and the answer is WAIT. Should a service be so slow that catching up leaves no
   time for the current report, or that the earlier ones do not get fewer, they are given up: an answer is
   worth more than they are. So is one alone that never gets through (see `Delivery.catch_up`).
   A command in a late answer was never carried out. It is not handed on (the trainer has moved on); the
   next report tells that it expired.
4. The report is sent, and again without those outcomes that the service refuses because it never issued their
   commands. If its answer is lost, the report is kept as it was sent and goes to 3 next time.
5. What the trainer followed on its own meanwhile is told. The decision is in hand by then, so trouble here
   costs at most a quarter of the deadline and is tried once for each silence.
"""

from __future__ import annotations

import logging
from typing import Any, Final, SupportsIndex

from pydantic import ValidationError
from tamiyo_leyline import (
    CommandOutcome,
    CommandStatus,
    EpochReport,
    RunResult,
)
from tamiyo_leyline.api import RewindRequest

from tamiyo_client.alone import Alone
from tamiyo_client.conduct import Conduct
from tamiyo_client.decision import Decision, own_decision, service_decision
from tamiyo_client.delivery import Delivery
from tamiyo_client.errors import (
    ClientClosedError,
    ClientFaultError,
    DeadlineExceededError,
    ProtocolError,
    SilenceError,
    TamiyoError,
    UsageError,
)
from tamiyo_client.measurements import (
    EpochMeasurements,
    build_report,
    explained,
    require_keywords,
    require_report,
)
from tamiyo_client.plan import Rewind, RunPlan
from tamiyo_client.wire import Conversation, Deadline

logger = logging.getLogger("tamiyo_client")

MAX_PUT_OFFS: Final = 10
"""Reports in a row that may be put off for earlier ones before those are given up."""


class RunSession:
    """The conversations of one run. One at a time: whoever drives them takes turns.

    Args:
        plan: what the run is to be.
        conduct: the client's settings.
    """

    def __init__(self, plan: RunPlan, conduct: Conduct) -> None:
        self._plan: Final = plan
        self._conduct: Final = conduct.for_run()
        self._delivery: Final = Delivery(plan, self._conduct)
        self._alone: Final = Alone(plan.run_id, self._conduct, self._delivery.outbox)
        self._lagging = False
        self._put_offs = 0
        self._over = False

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._plan.run_id

    @property
    def attempt(self) -> int:
        """The attempt that reports belong to; before a late start, counted from 0."""
        return self._delivery.attempt

    @property
    def is_started(self) -> bool:
        """Whether the service knows of the run."""
        return self._delivery.started

    def start(self) -> Conversation[None]:
        """Start the run, or leave that to the first report if the service is silent (and not strict).

        Raises:
            TamiyoError: everything but silence, always: the training has not begun, so nothing is lost.
        """
        try:
            yield from self._delivery.start(self._conduct.deadline())
        except SilenceError as error:
            if self._conduct.strict:
                raise
            self._alone.begin(f"starts without Tamiyo and asks again at every epoch: {error}")

    def epoch(self, measurements: EpochMeasurements) -> Conversation[Decision]:
        """Decide about an epoch from loose measurements.

        Raises:
            TypeError: on a misspelt or missing keyword.
            TamiyoError: only when strict.
        """
        require_keywords(measurements)
        try:
            report = build_report(measurements, self._warn_unmeasured)
        except UsageError as error:
            return self._refused(_number(measurements["epoch"]), error)
        except Exception as error:  # noqa: BLE001 - see _failed
            return self._failed(_number(measurements["epoch"]), error)
        return (yield from self.report(report))

    def report(self, report: EpochReport) -> Conversation[Decision]:
        """Decide about an epoch from its report.

        Raises:
            TamiyoError: only when strict.
        """
        self._delivery.sent = None
        deadline = self._conduct.deadline()
        try:
            return (yield from self._decide(require_report(report), deadline))
        except GeneratorExit:
            # Cancelled, or interrupted from the keyboard: the epoch has been trained all the same.
            self._keep(report)
            raise
        except (SilenceError, ProtocolError) as error:
            return self._fall_back(report, error)
        except TamiyoError as error:
            return self._refused(_number(getattr(report, "epoch", 0)), error)
        except Exception as error:  # noqa: BLE001 - see _failed
            return self._failed(report.epoch, error)

    def rewind(self, to_epoch: SupportsIndex | None) -> Conversation[int]:
        """Open the next attempt; if the service is silent now, before the next report.

        Returns:
            The attempt that reports belong to from now on.

        Raises:
            UsageError: if `to_epoch` is no epoch.
            TamiyoError: only when strict.
        """
        target = Rewind(to_epoch).to_epoch
        self._over = False
        self._delivery.attempt += 1
        self._delivery.outbox.rewind(RewindRequest(to_epoch=target, attempt=self.attempt))
        try:
            self._conduct.circuit.require_open()
            deadline = self._conduct.deadline()
            yield from self._delivery.start(deadline)
            yield from self._delivery.catch_up(deadline)
        except TamiyoError as error:
            if self._conduct.strict:
                raise
            logger.warning("run %s: the rewind is told with the next report: %s", self.run_id, error)
        return self.attempt

    def outcome(self, command_id: str, status: CommandStatus | str, detail: str = "") -> None:
        """Note what became of a command; the next report (or the end of the run) tells it.

        Raises:
            UsageError: only when strict: if an argument is not valid.
        """
        try:
            outcome = CommandOutcome.model_validate(
                {"command_id": command_id, "status": status, "detail": detail}
            )
        except ValidationError as error:
            if self._conduct.strict:
                raise UsageError(explained(error)) from error
            logger.error("run %s: outcome(): %s", self.run_id, explained(error))
            return
        self._delivery.outbox.add_outcomes((outcome,))

    def complete(self, result: RunResult | str) -> Conversation[bool]:
        """Tell what is still to be told and close the run.

        Returns:
            Whether the service knows that the run is over.

        Raises:
            UsageError: if `result` is none.
            TamiyoError: only when strict.
        """
        ended = _result(result)
        self._over = True
        deadline = self._conduct.deadline()
        try:
            yield from self._delivery.flush(deadline)
            yield from self._delivery.complete(ended, deadline)
        except TamiyoError as error:
            if self._conduct.strict:
                raise
            logger.warning("run %s could not be completed: %s", self.run_id, error)
            return False
        return True

    def close(self, *, clean: bool) -> Conversation[None]:
        """End the session: complete the run after a clean end, else only tell what is to be told.

        Raises:
            TamiyoError: only when strict and clean: an error must not hide the one that ended the training.
        """
        if self._over:
            return
        if clean:
            yield from self.complete(RunResult.SUCCEEDED)
            return
        self._over = True
        if not self.is_started and not self._delivery.outbox.missed:
            return
        try:
            yield from self._delivery.flush(self._conduct.deadline())
        except Exception as error:  # noqa: BLE001 - must not hide the error that ended the training
            logger.warning("run %s: not everything could be told: %s", self.run_id, error)

    def _decide(self, report: EpochReport, deadline: Deadline) -> Conversation[Decision]:
        if self._over:
            raise ClientClosedError(f"run {self.run_id} is over; open another, or rewind it")
        self._conduct.circuit.require_open()
        yield from self._delivery.start(deadline)
        outbox = self._delivery.outbox
        outbox.withdraw(report.epoch, self.attempt)
        if self._lagging:
            self._give_up_missed()
        late = len(outbox.missed)
        if not (yield from self._delivery.catch_up(deadline)):
            decision = self._alone.put_off(outbox.sealed(report, self.attempt))
            self._put_offs += 1
            stands_still = self._put_offs > 1 and len(outbox.missed) >= late
            self._lagging = stands_still or self._put_offs >= MAX_PUT_OFFS
            return decision
        sealed = outbox.sealed(report, self.attempt)
        try:
            answered = yield from self._delivery.report(sealed, deadline)
        except DeadlineExceededError:
            self._lagging = late > 0
            raise
        self._lagging, self._put_offs = False, 0
        self._alone.end(late)
        self._conduct.notices.of(answered.reply)
        if outbox.own_due:
            yield from self._delivery.tell_own_decisions(deadline)
        return service_decision(answered.reply, replayed=answered.replayed)

    def _fall_back(self, report: EpochReport, error: TamiyoError) -> Decision:
        if self._conduct.strict:
            raise error
        self._put_offs = 0
        return self._alone.decide(self._as_sent(report), error)

    def _keep(self, report: EpochReport) -> None:
        if not self._conduct.strict:
            self._delivery.outbox.miss(self._as_sent(report))

    def _as_sent(self, report: EpochReport) -> EpochReport:
        return self._delivery.sent or self._delivery.outbox.sealed(report, self.attempt)

    def _refused(self, epoch: int, error: TamiyoError) -> Decision:
        if self._conduct.strict:
            raise error
        logger.error("run %s: epoch %d was not decided: %s", self.run_id, epoch, error)
        return own_decision(epoch, self.attempt, f"{type(error).__name__}: {error}", error=error)

    def _failed(self, epoch: int, error: Exception) -> Decision:
        # A fault nobody thought of, of the client or of an object it was handed, must not end a training.
        logger.exception("run %s: the client failed", self.run_id)
        return self._refused(epoch, ClientFaultError(f"the client failed: {error!r}"))

    def _give_up_missed(self) -> None:
        self._lagging, self._put_offs = False, 0
        given_up = self._delivery.outbox.give_up_all()
        if given_up:
            logger.warning(
                "run %s: %d earlier reports are given up: the service is too slow to catch up with",
                self.run_id,
                given_up,
            )

    def _warn_unmeasured(self, field: str) -> None:
        self._conduct.notices.once(f"run {self.run_id}: {field} was not finite and counts as not measured")


def _number(epoch: Any) -> int:
    # Whatever was wrong with the report: an answer has to name some epoch.
    try:
        return max(0, int(epoch))
    except Exception:  # noqa: BLE001 - an object of the trainer's may raise anything
        return 0


def _result(result: RunResult | str) -> RunResult:
    try:
        return RunResult(result)
    except ValueError as error:
        raise UsageError(f"a result is one of {', '.join(RunResult)}, got {result!r}") from error
