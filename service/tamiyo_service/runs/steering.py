"""What operators order of a run: hold it, overrule its policy once, give it another policy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import orjson
from tamiyo_core import Override
from tamiyo_leyline import ActionKind, PolicyChoice, RunConfig, SeedStage
from tamiyo_leyline.api import OverrideRequest, OverrideView, PolicyRequest

from tamiyo_service.clock import Clock
from tamiyo_service.errors import InvalidRequestError, no_such_run
from tamiyo_service.runs.absent import AbsentPolicy
from tamiyo_service.runs.change import Change
from tamiyo_service.runs.creation import Beginnings
from tamiyo_service.runs.deciding import identity_of
from tamiyo_service.runs.desk import Desk
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.inputs import input_entry, require_open, status_row
from tamiyo_service.runs.session import Session, Standing
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import Entry, InputKind, PolicyRow, Write


class Steering:
    """Takes operators' orders; every method may raise `UnavailableError` and then has changed nothing.

    Args:
        store: where runs are looked up.
        beginnings: settle which version of a policy a run is given.
        engines: give the engine for it.
        desk: where changes are handed in.
        clock: tells when something is ordered.
    """

    def __init__(
        self, store: Store, beginnings: Beginnings, engines: Engines, desk: Desk, clock: Clock
    ) -> None:
        self._store = store
        self._beginnings = beginnings
        self._engines = engines
        self._desk = desk
        self._clock = clock

    async def hold(self, run_id: str, reason: str, by: str | None = None) -> None:
        """Let a run only wait from now on; a new reason replaces the old one.

        Raises:
            RunNotFoundError, RunCompletedError
        """
        await self._desk.change(run_id, partial(self._held, reason, by))

    async def release(self, run_id: str, by: str | None = None) -> None:
        """End a hold, if there is one.

        Raises:
            RunNotFoundError, RunCompletedError
        """
        await self._desk.change(run_id, partial(self._held, None, by))

    async def override(self, run_id: str, request: OverrideRequest, by: str | None = None) -> None:
        """Have the next report answered with this command, if it is legal then; it replaces one that waits.

        Raises:
            RunNotFoundError, RunCompletedError
            InvalidRequestError: if the run has no such action, or no such live seed.
        """
        await self._desk.change(run_id, partial(self._overridden, request, by))

    async def withdraw(self, run_id: str, by: str | None = None) -> None:
        """Take back an override that no report has taken yet, if there is one.

        Raises:
            RunNotFoundError, RunCompletedError
        """
        await self._desk.change(run_id, partial(self._withdrawn, by))

    async def give_policy(self, run_id: str, request: PolicyRequest, by: str | None = None) -> None:
        """Let another policy decide from the next report on; its network is loaded when this returns.

        Raises:
            RunNotFoundError, RunCompletedError
            NoArtifactError, InvalidConfigError, ModelRejectedError: if the policy cannot be had.
        """
        run = await self._store.run(run_id)
        if run is None:
            raise no_such_run(run_id)
        begun = RunConfig.model_validate_json(run.config)
        # Policies that shadow the run are looked after already.
        wanted = begun.model_copy(update={"policy": request.policy, "shadow": ()})
        choice = (await self._beginnings.chosen(wanted)).policy
        await self._desk.change(run_id, partial(self._given, choice, request, by))

    async def _held(self, reason: str | None, by: str | None, session: Session) -> Change[None]:
        standing = session.standing
        require_open(session)
        if standing.hold == reason:
            return Change(standing, None, None)
        after = standing._replace(seq=standing.seq + 1, hold=reason)
        kind = InputKind.RELEASE if reason is None else InputKind.HOLD
        entry = self._entry(session, after, kind, {"reason": reason, **_signed(by)})
        return Change(after, Write((entry,), status=status_row(session, after)), None)

    async def _overridden(self, request: OverrideRequest, by: str | None, session: Session) -> Change[None]:
        standing = session.standing
        require_open(session)
        override = _order(request, standing)._replace(by=by)
        if standing.override == override:
            return Change(standing, None, None)
        after = standing._replace(seq=standing.seq + 1, override=override)
        entry = self._entry(session, after, InputKind.OVERRIDE, override_view(override).model_dump())
        return Change(after, Write((entry,)), None)

    async def _withdrawn(self, by: str | None, session: Session) -> Change[None]:
        standing = session.standing
        require_open(session)
        if standing.override is None:
            return Change(standing, None, None)
        after = standing._replace(seq=standing.seq + 1, override=None)
        entry = self._entry(session, after, InputKind.WITHDRAWAL, _signed(by))
        return Change(after, Write((entry,)), None)

    async def _given(
        self, choice: PolicyChoice, request: PolicyRequest, by: str | None, session: Session
    ) -> Change[None]:
        standing = session.standing
        require_open(session)
        before = standing.engine.config.policy
        engine = self._engines.of(standing.engine.config.model_copy(update={"policy": choice}))
        # The same one may be named with its version, or without.
        if _is_there(standing) and identity_of(engine) == identity_of(standing.engine):
            return Change(standing, None, None)
        # What another policy remembers means nothing to this one; what the run has been through stays.
        state = standing.state._replace(policy=engine.policy.initial())
        after = standing._replace(engine=engine, state=state, seq=standing.seq + 1)
        content = {
            "policy": choice.model_dump(),
            "before": before.model_dump(),
            "reason": request.reason,
            **_signed(by),
        }
        entry = self._entry(session, after, InputKind.POLICY, content)
        row = PolicyRow(session.run_pk, choice.name, choice.model_dump_json())
        return Change(after, Write((entry,), policy=row), None)

    def _entry(
        self, session: Session, after: Standing, kind: InputKind, content: Mapping[str, object]
    ) -> Entry:
        return input_entry(session, after, kind, orjson.dumps(content).decode(), self._clock())


def _is_there(standing: Standing) -> bool:
    """Whether the policy that a run has can decide."""
    return not isinstance(standing.engine.policy, AbsentPolicy)


def _signed(by: str | None) -> dict[str, object]:
    """Who ordered it, where that is known."""
    return {} if by is None else {"by": by}


def override_view(override: Override) -> OverrideView:
    """An order that waits, as it travels."""
    return OverrideView(
        action=override.action,
        target_seed_id=override.seed_id,
        reason=override.reason,
        by=override.by,
    )


def _order(request: OverrideRequest, standing: Standing) -> Override:
    """The order, checked against the run as last reported.

    Raises:
        InvalidRequestError: if the run has no such action, or no such live seed.
    """
    layout = standing.engine.config.topology.layout
    name, seed_id = request.action.upper(), request.target_seed_id
    if name not in layout.names:
        raise InvalidRequestError(
            f"unknown action {request.action!r}; send one of {', '.join(layout.names)}", field="action"
        )
    kind = layout.named(name).kind
    live = [s.seed_id for s in standing.state.tracker.seeds if SeedStage(s.stage).is_live]
    if kind is ActionKind.GERMINATE and seed_id is not None:
        raise InvalidRequestError("a GERMINATE names no seed; leave it out", field="target_seed_id")
    if seed_id is None and kind in (ActionKind.CULL, ActionKind.FOSSILIZE):
        if len(live) != 1:
            raise _no_target(name, live)
        seed_id = live[0]
    if seed_id is not None and seed_id not in live:
        raise _no_target(name, live)
    return Override(name, seed_id, request.reason)


def _no_target(name: str, live: list[str]) -> InvalidRequestError:
    message = f"{name} needs a live seed of the last report: {', '.join(live) or 'there is none'}"
    return InvalidRequestError(message, field="target_seed_id")
