"""A run's life besides its reports: begin, rewind, end, vanish."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import orjson
from pydantic import BaseModel
from tamiyo_core import RunState
from tamiyo_core.learned import LEARNED
from tamiyo_leyline import CommandOutcome, RunConfig, RunResult
from tamiyo_leyline.api import ClientDecision, OutcomeReply, RewindReply, RewindRequest

from tamiyo_service.clock import Clock, to_micros
from tamiyo_service.errors import (
    AttemptConflictError,
    InvalidConfigError,
    ModelRejectedError,
    NoArtifactError,
    RunExistsError,
    no_such_run,
)
from tamiyo_service.runs.change import Change
from tamiyo_service.runs.creation import DEFAULT_POLICIES, Beginnings, leaves_policy_open, new_run
from tamiyo_service.runs.deciding import events_json, outcome_rows
from tamiyo_service.runs.desk import Desk
from tamiyo_service.runs.engines import Engines, engine_at
from tamiyo_service.runs.inputs import input_entry, require_open, status_row
from tamiyo_service.runs.issued import IssuedCommands
from tamiyo_service.runs.session import Session, Standing
from tamiyo_service.runs.snapshots import restored
from tamiyo_service.runs.timeline import kept_up_to
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import ClientDecisionRow, Entry, InputKind, Rewind, RunRow, Write


class Lifecycle:
    """Changes runs durably; every method may raise `UnavailableError` and then has changed nothing.

    Args:
        store: makes changes durable.
        beginnings: settle with which policy a run begins.
        engines: restore earlier states.
        desk: where changes are handed in.
        clock: tells when something happens.
    """

    def __init__(
        self, store: Store, beginnings: Beginnings, engines: Engines, desk: Desk, clock: Clock
    ) -> None:
        self._store = store
        self._beginnings = beginnings
        self._engines = engines
        self._desk = desk
        self._clock = clock
        self._issued = IssuedCommands(store.report)

    async def create(self, run_id: str, config: RunConfig) -> tuple[RunRow, bool]:
        """The run, and whether this call created it; one that exists needs no policy to be found.

        Raises:
            RunExistsError: if it exists with another configuration.
            NoArtifactError, InvalidConfigError, ModelRejectedError: if its policy cannot be had.
        """
        try:
            settled = await self._beginnings.chosen(config)
        except (NoArtifactError, InvalidConfigError, ModelRejectedError):
            existing = await self._store.run(run_id)
            if existing is None:
                raise
            _require_same(existing, config)
            return existing, False
        if settled.shadow:
            await self._store.shadows.begin()
        run, created = await self._store.create_run(new_run(run_id, settled, self._clock()))
        if not created:
            _require_same(run, config)
        return run, created

    async def rewind(self, run_id: str, request: RewindRequest) -> RewindReply:
        """Open the next attempt with the state after an earlier epoch; repeating it answers the same.

        Raises:
            RunNotFoundError: if there is no such run.
            AttemptConflictError: if the attempt is not the next one, and was not opened like this.
        """
        return await self._desk.change(run_id, partial(self._rewound, request))

    async def complete(self, run_id: str, result: RunResult) -> None:
        """Close a run; closing it again with the same result changes nothing.

        Raises:
            RunNotFoundError: if there is no such run.
            RunCompletedError: if it was closed with another result.
        """
        await self._desk.change(run_id, partial(self._completed, result))

    async def outcome(self, run_id: str, outcome: CommandOutcome) -> OutcomeReply:
        """Note what became of a command; it takes effect with the run's next report.

        Raises:
            RunNotFoundError, RunCompletedError
            UnknownCommandError: if the run never issued the command.
        """
        return await self._desk.change(run_id, partial(self._noted, outcome))

    async def delete(self, run_id: str) -> None:
        """Remove a run with its history.

        Raises:
            RunNotFoundError: if there is no such run.
        """
        await self._desk.delete(run_id, to_micros(self._clock()))

    async def client_decisions(self, run_id: str, decisions: Sequence[ClientDecision]) -> int:
        """Record what a trainer did for itself; the number of decisions that were new.

        Raises:
            RunNotFoundError: if there is no such run, or it went meanwhile.
            AttemptConflictError: if no rewind opened the attempt of one of them.
        """
        loaded = await self._store.load(run_id)
        if loaded is None:
            raise no_such_run(run_id)
        run, last = loaded
        _require_opened(decisions, 0 if last is None else last.attempt)
        at = to_micros(self._clock())
        rows = [
            ClientDecisionRow(run.run_pk, d.attempt, d.epoch, at, d.model_dump_json(exclude_none=True))
            for d in decisions
        ]
        recorded = await self._store.add_client_decisions(rows)
        if recorded is None:
            raise no_such_run(run_id)
        return recorded

    async def _rewound(self, request: RewindRequest, session: Session) -> Change[RewindReply]:
        standing = session.standing
        rewinds = (await self._store.rewinds([session.run_pk])).get(session.run_pk, ())
        if request.attempt <= standing.attempt:
            return Change(standing, None, _repeated(session, request, rewinds))
        if request.attempt != standing.attempt + 1:
            raise AttemptConflictError(
                f"the next attempt is {standing.attempt + 1}, not {request.attempt}", field="attempt"
            )
        kept = await kept_up_to(self._store, session.run_pk, request.to_epoch, standing.attempt, rewinds)
        state = session.engine.initial() if kept is None else await self._state_after(kept, session)
        resumed = None if kept is None else kept.epoch
        after = standing._replace(
            state=state, attempt=request.attempt, seq=standing.seq + 1, result=None, last=None
        )
        payload = {"to_epoch": request.to_epoch, "resumed_epoch": resumed}
        entry = self._entry(session, after, InputKind.REWIND, orjson.dumps(payload).decode())
        status = status_row(session, after) if standing.result is not None else None
        return Change(after, Write((entry,), status=status), _rewind_reply(session, request.attempt, resumed))

    async def _completed(self, result: RunResult, session: Session) -> Change[None]:
        standing = session.standing
        if standing.result == result:
            return Change(standing, None, None)
        require_open(session)
        close = session.engine.close(standing.state)
        after = standing._replace(state=close.state, seq=standing.seq + 1, result=result.value)
        entry = self._entry(session, after, InputKind.COMPLETE, orjson.dumps({"result": result}).decode())
        entry = entry._replace(events=events_json(close.events) if close.events else None)
        outcomes = outcome_rows(session.run_pk, close.outcomes, standing.attempt)
        return Change(after, Write((entry,), outcomes, status=status_row(session, after)), None)

    async def _noted(self, outcome: CommandOutcome, session: Session) -> Change[OutcomeReply]:
        standing = session.standing
        reply = OutcomeReply(run_id=session.run_id, command_id=outcome.command_id, status=outcome.status)
        require_open(session)
        await self._issued.require(session, [outcome.command_id])
        state = session.engine.queue_outcome(standing.state, outcome)
        if state == standing.state:
            return Change(standing, None, reply)
        after = standing._replace(state=state, seq=standing.seq + 1)
        entry = self._entry(session, after, InputKind.OUTCOME, _json(outcome))
        return Change(after, Write((entry,)), reply)

    async def _state_after(self, kept: Entry, session: Session) -> RunState:
        """The run's state after a report, for the policy it has now: another's state means nothing to it."""
        run = await self._store.run(session.run_id)
        if run is None:
            raise no_such_run(session.run_id)
        engine = await engine_at(self._store, self._engines, run, kept.seq)
        state = restored(engine, kept.state)
        if engine.config.policy == session.engine.config.policy:
            return state
        return state._replace(policy=session.engine.policy.initial())

    def _entry(self, session: Session, after: Standing, kind: InputKind, payload: str) -> Entry:
        return input_entry(session, after, kind, payload, self._clock())


def _json(schema: BaseModel) -> str:
    return schema.model_dump_json(exclude_none=True)


def _rewind_reply(session: Session, attempt: int, resumed_epoch: int | None) -> RewindReply:
    return RewindReply(run_id=session.run_id, attempt=attempt, resumed_epoch=resumed_epoch)


def _repeated(session: Session, request: RewindRequest, rewinds: Sequence[Rewind]) -> RewindReply:
    to_epoch = -1 if request.to_epoch is None else request.to_epoch
    for rewind in rewinds:
        if (rewind.attempt, rewind.to_epoch) == (request.attempt, to_epoch):
            return _rewind_reply(session, rewind.attempt, rewind.resumed_epoch)
    raise AttemptConflictError(
        f"attempt {request.attempt} is open already and did not begin after epoch {request.to_epoch}; "
        f"the next attempt is {session.standing.attempt + 1}",
        field="attempt",
    )


def _require_opened(decisions: Sequence[ClientDecision], attempt: int) -> None:
    for number, decision in enumerate(decisions):
        if decision.attempt > attempt:
            raise AttemptConflictError(
                f"no rewind opened attempt {decision.attempt}; the run is at attempt {attempt}",
                field=f"{number}.attempt",
            )


def _require_same(run: RunRow, config: RunConfig) -> None:
    """Return if a configuration, as it was sent, is that of a run.

    What it leaves open fits what was settled when the run began: a default policy, the learned one's version.
    """
    begun = RunConfig.model_validate_json(run.config)
    stored, sent = orjson.loads(begun.model_dump_json()), orjson.loads(config.model_dump_json())
    if leaves_policy_open(config) and stored["policy"]["name"] in DEFAULT_POLICIES:
        sent["policy"]["name"] = stored["policy"]["name"]
    if sent["policy"]["name"] == LEARNED and config.policy.version is None:
        sent["policy"]["version"] = stored["policy"]["version"]
    different = [name for name in sent if sent[name] != stored[name]]
    if different:
        raise RunExistsError(
            f"run {run.run_id} exists with another {', '.join(different)}; "
            "send the configuration it was created with, or choose another id",
            field=different[0],
        )
