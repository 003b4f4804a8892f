"""The seat where reports are decided that wait together.

::

    request ──▶ take ──▶ waiting ──▶ in the loop's next turn, stage by stage ──▶ one transaction
    request ◀── its ticket ◀────────── when that is on disk ◀────────────────────────┘

What costs time is less the work than its breadth: a decision runs through hundreds of functions, and each has
to be fetched anew when the code of others has pushed it out of the processor's caches. So all that wait are
taken through each stage together, and their questions to a network become one forward pass.

Only what is plain is decided here: a new report of a run in memory whose turn it is. A ticket that comes back
without a reply takes the long way (`Reports.answer`), which also finds the words for refusals.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from tamiyo_core import Advice, Observation
from tamiyo_leyline import EpochReport

from tamiyo_service.clock import Clock
from tamiyo_service.errors import TamiyoError
from tamiyo_service.observability.tallies import ReportTally
from tamiyo_service.runs.advising import Advisor, Asked, advice, advice_at_once
from tamiyo_service.runs.deciding import Case, Decided, Reply, conclude, observe
from tamiyo_service.runs.reports import plain_case
from tamiyo_service.runs.session import Session, Standing
from tamiyo_service.store.protocol import Store

TOGETHER: Final = 32
"""Reports that go through the stages together: what more of them carry no longer fits the caches."""

End = Callable[[Session, Standing, TamiyoError | None], None]


class Ticket:
    """A report on its way."""

    __slots__ = ("backfill", "began", "body", "done", "reply", "session")

    def __init__(self, session: Session, body: bytes, done: asyncio.Future[None], *, backfill: bool) -> None:
        self.session = session
        self.body = body
        self.backfill = backfill
        self.began = time.perf_counter()
        self.done = done
        self.reply: Reply | None = None
        """Once it is done; None then: the report takes the long way."""


class Place(NamedTuple):
    """A report half decided."""

    ticket: Ticket
    case: Case
    observation: Observation


class Seat:
    """Decides plain reports that wait together, and hands the decisions to the store.

    Args:
        store: makes decisions durable.
        advisor: asks networks.
        clock: tells when decisions are made.
        end: ends the turn of a run with the write it led to.
        release: ends the turn of a run that was not changed.
        tally: counts reports.
    """

    def __init__(
        self,
        store: Store,
        advisor: Advisor,
        clock: Clock,
        end: End,
        release: Callable[[Session], None],
        tally: ReportTally,
    ) -> None:
        self._store = store
        self._advisor = advisor
        self._clock = clock
        self._end = end
        self._release = release
        self._tally = tally
        self._waiting: deque[Ticket] = deque()
        self._asking: set[asyncio.Task[None]] = set()

    def take(self, session: Session, body: bytes, *, backfill: bool) -> Ticket:
        """Have a report decided; the ticket is done when the decision is durable.

        Args:
            session: of the run, its turn held: the seat ends it, whoever still listens.
            body: the report as JSON.
            backfill: whether it is late.
        """
        loop = asyncio.get_running_loop()
        ticket = Ticket(session, body, loop.create_future(), backfill=backfill)
        if not self._waiting:
            loop.call_soon(self._serve)
        self._waiting.append(ticket)
        return ticket

    def _serve(self) -> None:
        """Decide those who wait; others get the loop's turn after every `TOGETHER` of them."""
        tickets = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._serve)
        began = time.perf_counter()
        places = self._observe(tickets)
        spent = time.perf_counter() - began
        if not any(place.observation.questions for place in places):
            self._conclude(places, [None] * len(places), spent)
            return
        try:
            advices, waiting = advice_at_once(self._advisor, _asked(places))
        except Exception:  # noqa: BLE001 - see `_observe`
            self._set_aside(place.ticket for place in places)
            return
        if not waiting:
            self._conclude(places, advices, spent)
            return
        for numbers in waiting:
            self._conclude_when_advised([places[number] for number in numbers], spent)
        late = {number for numbers in waiting for number in numbers}
        at_once = [number for number in range(len(places)) if number not in late]
        self._conclude([places[number] for number in at_once], [advices[number] for number in at_once], spent)

    def _observe(self, tickets: Sequence[Ticket]) -> list[Place]:
        plain = [(ticket, case) for ticket in tickets if (case := self._plain(ticket)) is not None]
        try:
            observations = observe([case for _, case in plain])
        except Exception:  # noqa: BLE001 - on the long way each of them meets its own defect, and only that
            self._set_aside(ticket for ticket, _ in plain)
            return []
        return [Place(*one, observation) for one, observation in zip(plain, observations, strict=True)]

    def _plain(self, ticket: Ticket) -> Case | None:
        case = None
        if not ticket.done.done():
            try:
                case = plain_case(
                    ticket.session, EpochReport.model_validate_json(ticket.body), backfill=ticket.backfill
                )
            except Exception:  # noqa: BLE001 - the long way tells what is wrong with it
                case = None
        if case is None:
            self._set_aside([ticket])
        return case

    def _conclude_when_advised(self, places: Sequence[Place], spent: float) -> None:
        task = asyncio.create_task(self._conclude_later(places, spent), name="tamiyo-advised")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _conclude_later(self, places: Sequence[Place], spent: float) -> None:
        try:
            advices = await advice(self._advisor, _asked(places))
        except Exception:  # noqa: BLE001 - see `_observe`
            self._set_aside(place.ticket for place in places)
        else:
            self._conclude(places, advices, spent)

    def _conclude(self, places: Sequence[Place], advices: Sequence[Advice | None], spent: float) -> None:
        began = time.perf_counter()
        cases = [place.case for place in places]
        try:
            decided = conclude(cases, [place.observation for place in places], advices, self._clock())
        except Exception:  # noqa: BLE001 - see `_observe`
            self._set_aside(place.ticket for place in places)
            return
        self._tally.deciding.observe(spent + time.perf_counter() - began, len(places))
        for place, one in zip(places, decided, strict=True):
            self._store_decision(place.ticket, one)

    def _store_decision(self, ticket: Ticket, decided: Decided) -> None:
        ticket.reply = decided.reply
        try:
            self._store.append(
                decided.write, partial(self._end, ticket.session, decided.standing), ticket.done
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told, and the others go on
            self._release(ticket.session)
            if not ticket.done.done():
                ticket.done.set_exception(error)

    def _set_aside(self, tickets: Iterable[Ticket]) -> None:
        """For the long way; who has left gets nothing."""
        for ticket in tickets:
            self._release(ticket.session)
            if not ticket.done.done():
                ticket.done.set_result(None)


def _asked(places: Sequence[Place]) -> Asked:
    return [(place.case.asks, place.observation.questions) for place in places]
