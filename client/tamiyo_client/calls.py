"""Every call of the service the client makes: which request it is and how its answer is read.

All of them may be repeated without doing anything twice, which is what allows retries:

================================  ==================================================================
PUT /runs/{id}                    the same configuration again answers 200
POST /runs/{id}/epoch             the same (attempt, epoch) and content again: the stored reply
POST /runs/{id}/rewind            the same attempt again answers the same
POST …/commands/{id}/outcome      the same outcome again changes nothing
POST /runs/{id}/client-decisions  known by (attempt, epoch)
POST /runs/{id}/complete          the same result again changes nothing
GET …                             reads
DELETE /runs/{id}                 is *not* repeated: the second one would say that there is no such run
================================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypedDict
from urllib.parse import quote, urlencode

from pydantic import Field
from tamiyo_leyline import (
    CommandOutcome,
    DecisionItem,
    DecisionRecord,
    EpochReport,
    RunResult,
    RunStatus,
)
from tamiyo_leyline.api import (
    ClientDecision,
    ClientDecisionsReply,
    CompleteRequest,
    Health,
    OutcomeReply,
    OutcomeRequest,
    Page,
    RewindReply,
    RewindRequest,
    RunView,
)
from tamiyo_leyline.fields import Answer

from tamiyo_client.errors import ProtocolError
from tamiyo_client.replies import EpochAnswer, is_replayed, read, require_no_content
from tamiyo_client.wire import LARGE_ANSWER_BYTES, Request, Response, Result

REPEATABLE_METHODS: Final = frozenset({"GET", "PUT", "POST"})
"""Calls with these methods may be made again when their answer was lost."""


class Call(NamedTuple, Generic[Result]):
    """A request and how its answer is read."""

    request: Request
    read: Callable[[Response], Result]


class Standing(Answer):
    """What a trainer needs to know of its run: the rest of a `RunView` is left unread."""

    run_id: str = Field(description="The run.")
    status: RunStatus = Field(description="ACTIVE, HELD or COMPLETED.")
    attempt: int = Field(description="The current attempt.")
    last_epoch: int | None = Field(description="Last epoch reported in it; null: none yet.")

    @property
    def has_history(self) -> bool:
        """Whether anything was ever reported under this run."""
        return self.attempt > 0 or self.last_epoch is not None


class Answered(NamedTuple):
    """The answer to an epoch report."""

    reply: EpochAnswer
    replayed: bool


class RunFilters(TypedDict, total=False):
    """Which runs a list holds."""

    label: str | Iterable[str]
    """``key:value`` of a label; of several, all must match."""
    policy: str
    status: RunStatus | str
    silent_for: float
    """Seconds since the last report, at least."""
    limit: int
    """Runs fetched at a time, at most 1 000; the iteration goes through all of them."""


class DecisionFilters(TypedDict, total=False):
    """Which decisions a list holds."""

    action: str | Iterable[str]
    """WAIT, GERMINATE, GERMINATE_<BLUEPRINT>, FOSSILIZE or CULL; or several of them."""
    since_epoch: int
    until_epoch: int
    policy: str
    risk: str
    since: str
    """UTC, ISO 8601."""
    until: str
    order: str
    """``desc`` (the service's default) or ``asc``."""
    limit: int
    """Decisions fetched at a time, at most 1 000; the iteration goes through all of them."""


def put_run(run_id: str, config: bytes) -> Call[Standing]:
    """Create the run, or find it as it stands. `config` is a RunConfig in JSON, as its user wrote it."""
    return Call(Request("PUT", _run(run_id), config), partial(_read_standing, run_id))


def post_epoch(run_id: str, report: EpochReport, *, backfill: bool = False) -> Call[Answered]:
    """Report an epoch; `backfill` marks a late report, which is observed only."""
    path = _run(run_id, "/epoch?create=false&backfill=true" if backfill else "/epoch?create=false")
    body = report.model_dump_json(exclude_none=True).encode()
    return Call(Request("POST", path, body), partial(_read_answer, run_id, report))


def post_rewind(run_id: str, rewind: RewindRequest) -> Call[RewindReply]:
    """Open the next attempt of a run."""
    body = rewind.model_dump_json().encode()
    return Call(Request("POST", _run(run_id, "/rewind"), body), partial(_read_rewind, run_id, rewind))


def post_outcome(run_id: str, outcome: CommandOutcome) -> Call[OutcomeReply]:
    """Tell what became of one command."""
    path = _run(run_id, f"/commands/{quote(outcome.command_id, safe='')}/outcome")
    body = OutcomeRequest(status=outcome.status, detail=outcome.detail).model_dump_json().encode()
    return Call(Request("POST", path, body), partial(_read_outcome, run_id, outcome.command_id))


def post_client_decisions(run_id: str, decisions: Iterable[ClientDecision]) -> Call[ClientDecisionsReply]:
    """Tell what the trainer followed while the service was silent."""
    body = b"[" + b",".join(decision.model_dump_json().encode() for decision in decisions) + b"]"
    return Call(
        Request("POST", _run(run_id, "/client-decisions"), body), partial(read, schema=ClientDecisionsReply)
    )


def post_complete(run_id: str, result: RunResult) -> Call[None]:
    """Close the run; with the same result again it changes nothing."""
    body = CompleteRequest(result=result).model_dump_json().encode()
    return Call(Request("POST", _run(run_id, "/complete"), body), partial(_read_end, run_id))


def get_standing(run_id: str) -> Call[Standing]:
    """Look how a run stands."""
    return Call(Request("GET", _run(run_id)), partial(_read_standing, run_id))


def get_run(run_id: str) -> Call[RunView]:
    """Look at a run."""
    return Call(Request("GET", _run(run_id)), partial(read, schema=RunView))


def get_decision(run_id: str, epoch: int) -> Call[DecisionRecord]:
    """Look at one decision with everything it was made from."""
    return Call(_look(_run(run_id, f"/decisions/{epoch}")), partial(read, schema=DecisionRecord))


def get_health() -> Call[Health]:
    """Ask whether the service lives."""
    return Call(Request("GET", "/healthz"), partial(read, schema=Health))


def delete_run(run_id: str) -> Call[None]:
    """Remove a run and its history."""
    return Call(Request("DELETE", _run(run_id)), require_no_content)


def get_runs(filters: Mapping[str, Any], cursor: str | None) -> Call[Page[RunView]]:
    """One page of the list of runs."""
    return Call(_look("/runs" + _query(filters, cursor)), partial(read, schema=Page[RunView]))


def get_decisions(
    run_id: str | None, filters: Mapping[str, Any], cursor: str | None
) -> Call[Page[DecisionItem]]:
    """One page of the history of a run, or of all runs."""
    path = "/decisions" if run_id is None else _run(run_id, "/decisions")
    return Call(_look(path + _query(filters, cursor)), partial(read, schema=Page[DecisionItem]))


def next_cursor(page: Page[Any], cursor: str | None) -> str | None:
    """Where the list goes on after `page`, which was fetched with `cursor`; None: it was the last page.

    Raises:
        ProtocolError: if the service sends the reader round in circles.
    """
    if page.next_cursor is not None and page.next_cursor == cursor:
        raise ProtocolError("the list does not advance: its next page is the same again")
    return page.next_cursor


def _run(run_id: str, rest: str = "") -> str:
    return f"/runs/{quote(run_id, safe='')}{rest}"


def _look(path: str) -> Request:
    return Request("GET", path, max_answer_bytes=LARGE_ANSWER_BYTES)


def _query(filters: Mapping[str, Any], cursor: str | None) -> str:
    given = {name: value for name, value in {**filters, "cursor": cursor}.items() if value is not None}
    return "?" + urlencode(given, doseq=True) if given else ""


def _read_standing(run_id: str, response: Response) -> Standing:
    standing = read(response, Standing)
    _require_run(run_id, standing.run_id)
    return standing


def _read_answer(run_id: str, report: EpochReport, response: Response) -> Answered:
    reply = read(response, EpochAnswer)
    _require_run(run_id, reply.run_id)
    if (reply.attempt, reply.epoch) != (report.attempt, report.epoch):
        raise ProtocolError(
            f"asked about epoch {report.epoch} of attempt {report.attempt}, "
            f"answered about epoch {reply.epoch} of attempt {reply.attempt}"
        )
    return Answered(reply, is_replayed(response))


def _read_rewind(run_id: str, rewind: RewindRequest, response: Response) -> RewindReply:
    reply = read(response, RewindReply)
    _require_run(run_id, reply.run_id)
    if reply.attempt != rewind.attempt:
        raise ProtocolError(f"asked to open attempt {rewind.attempt}, answered about {reply.attempt}")
    return reply


def _read_outcome(run_id: str, command_id: str, response: Response) -> OutcomeReply:
    reply = read(response, OutcomeReply)
    _require_run(run_id, reply.run_id)
    if reply.command_id != command_id:
        raise ProtocolError(f"told of command {command_id}, answered about {reply.command_id[:128]!r}")
    return reply


def _read_end(run_id: str, response: Response) -> None:
    standing = _read_standing(run_id, response)
    if standing.status is not RunStatus.COMPLETED:
        raise ProtocolError(f"asked to complete the run, answered that it is {standing.status}")


def _require_run(asked: str, answered: str) -> None:
    if answered != asked:
        raise ProtocolError(f"asked about run {asked!r}, answered about run {answered[:128]!r}")
