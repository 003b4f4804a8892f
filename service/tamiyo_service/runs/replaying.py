"""Replays: the reports of a run through another policy or configuration. Nothing is stored.

A replay is worked out in a thread, a page of reports at a time, and told as it goes: it takes the same memory
for ten reports and for ten thousand, and those who report wait for none of it. All replays take turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple

import structlog
from tamiyo_core import Advice, AskingPolicy, Engine
from tamiyo_core.learned import LEARNED, LearnedPolicy
from tamiyo_core.replay import Logged, Replay, ReplayQuestion, ReplayState
from tamiyo_leyline import (
    CommandOutcome,
    CommandStatus,
    DecisionReply,
    EpochReport,
    PolicyIdentity,
    RunConfig,
)
from tamiyo_leyline.replay import Replay as ReplayAnswer
from tamiyo_leyline.replay import ReplayRequest

from tamiyo_service.clock import from_micros
from tamiyo_service.errors import ModelRejectedError, NoArtifactError
from tamiyo_service.learned.activation import Activations
from tamiyo_service.learned.artifacts import Network
from tamiyo_service.learned.registry import Registry
from tamiyo_service.learned.shadowing import joined_advice
from tamiyo_service.runs.deciding import advice_of, identity_of
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.replaying_log import Line, Record, line_of, records
from tamiyo_service.runs.replaying_told import Gathered, acts, changes, item
from tamiyo_service.runs.snapshots import override_of
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import RunRow

_CAME_TO_NOTHING: Final = (CommandStatus.REFUSED, CommandStatus.FAILED)
_LOG: Final = structlog.get_logger(__name__)


class NetworkAbsentError(Exception):
    """A network would have to be asked that is not here."""


class Prepared(NamedTuple):
    """A replay that can begin: everything that can be refused has been looked at."""

    run: RunRow
    request: ReplayRequest
    logged: RunConfig
    """Of the run."""
    engine: Engine
    """To replay with."""
    network: Network | None
    """That the policy asks; None: it asks none, or only what the run has asked already."""
    line: Line


class Replays:
    """Replays runs; every method may raise `StoreUnavailableError`.

    Args:
        store: where the runs are.
        engines: know the policies.
        activations: tell which version of the learned policy is active.
        registry: loads networks.
    """

    def __init__(self, store: Store, engines: Engines, activations: Activations, registry: Registry) -> None:
        self._store = store
        self._engines = engines
        self._activations = activations
        self._registry = registry
        self._turn = asyncio.Lock()

    async def prepare(self, run: RunRow, request: ReplayRequest) -> Prepared:
        """Look at what a replay needs.

        Raises:
            pydantic.ValidationError: if the changes do not go together with the run's settings.
            NoArtifactError, InvalidConfigError, ModelRejectedError: if the policy cannot be had.
            InvalidRequestError: if there is no such attempt.
        """
        own = self._engines.of_run(run)
        logged = own.config
        config = request.applied_to(logged)
        try:
            engine, network = await self._with_network(config)
        except (NoArtifactError, ModelRejectedError):
            if config != logged:
                raise
            # What the network of the run said is stored; it need not be here any more.
            engine, network = own, None
        line = await line_of(self._store, run, request.attempt, request.until_epoch)
        return Prepared(run, request, logged, engine, network, line)

    async def pieces(self, prepared: Prepared) -> AsyncGenerator[bytes, None]:
        """The answer as JSON, a `tamiyo_leyline.replay.Replay`, piece by piece."""
        work = _Work(prepared)
        yield work.head()
        async for page in records(self._store, prepared.run, prepared.line):
            async with self._turn:
                piece = await asyncio.to_thread(work.page, page)
            if piece:
                yield piece
            if work.failure is not None:
                break
        yield work.tail()

    async def _with_network(self, config: RunConfig) -> tuple[Engine, Network | None]:
        if config.policy.name == LEARNED:
            await self._registry.look()
            config = await self._activations.pinned(config)
        engine = self._engines.of(config)
        if not isinstance(engine.policy, AskingPolicy):
            return engine, None
        # A second network on the CPU: who reports does not wait, and nothing depends on a deadline.
        return engine, await self._registry.load_for_shadows(engine.policy.sha256)


class _Work:
    """A replay under way."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._replay = Replay(prepared.engine)
        self._state: ReplayState = self._replay.initial()
        self._gathered = Gathered(prepared.request.since_epoch)
        self._same_questions = _asks_the_same(prepared.logged, prepared.engine.config)
        self._listed = False
        self.failure: str | None = None
        """Why the replay ended early."""

    def head(self) -> bytes:
        """The beginning of the answer."""
        prepared = self._prepared
        config = prepared.engine.config
        answer = ReplayAnswer.assembled(
            {
                "run_id": prepared.run.run_id,
                "attempt": prepared.line.attempt,
                "config": config,
                "policy": identity_of(prepared.engine),
                "changes": changes(prepared.logged, config),
            }
        )
        return f'{answer.model_dump_json(exclude_unset=True).removesuffix("}")},"items":['.encode()

    def page(self, page: Sequence[Record]) -> bytes:
        """The items of a page; in a thread."""
        told: list[str] = []
        for record in page:
            try:
                text = self._report(record)
            except NetworkAbsentError:
                self.failure = (
                    f"another policy decided epoch {record.entry.epoch}; what the network of this one would"
                    " have said is not known, for its artifact is not here: put it back into TAMIYO_MODELS"
                )
                break
            except Exception as error:  # noqa: BLE001 - a policy may be anybody's; what came before is told
                _LOG.error("replay_failed", run_id=self._prepared.run.run_id, exc_info=error)
                self.failure = f"the policy failed at epoch {record.entry.epoch}: {error!r}"[:1000]
                break
            if text is not None:
                told.append(text)
        piece = ",".join(told)
        if piece and self._listed:
            piece = f",{piece}"
        self._listed = self._listed or bool(piece)
        return piece.encode()

    def tail(self) -> bytes:
        """The end of the answer."""
        answer = ReplayAnswer.assembled(self._gathered.summary(self.failure))
        return f"],{answer.model_dump_json(exclude_unset=True)[1:]}".encode()

    def _report(self, record: Record) -> str | None:
        reply = DecisionReply.model_validate_json(record.entry.reply or "")
        fates = {row.command_id: CommandStatus(row.status) for row in record.outcomes}
        question = self._replay.observe(self._state, self._logged(record, reply, fates))
        advice = self._advice(question, record, reply.policy)
        one = self._replay.conclude(question, advice)
        self._state = one.state
        counts = self._gathered.take(one, fates)
        request = self._prepared.request
        wanted = {
            "all": True,
            "acting": acts(one) or not one.agrees,
            "divergences": not one.agrees,
            "none": False,
        }[request.items]
        if not (counts and wanted):
            return None
        return item(one, fates, self._prepared.engine if request.explain else None).model_dump_json()

    def _logged(self, record: Record, reply: DecisionReply, fates: dict[str, CommandStatus]) -> Logged:
        entry, engine = record.entry, self._prepared.engine
        return Logged(
            report=EpochReport.model_validate_json(entry.payload),
            decision_id=reply.decision_id,
            now=from_micros(entry.at),
            commands=reply.commands,
            told=tuple(CommandOutcome.model_validate_json(told.payload) for told in record.told),
            futile=frozenset(name for name, fate in fates.items() if fate in _CAME_TO_NOTHING),
            hold=entry.hold,
            # The random number is the one the run's own policy had.
            draw=engine.draw_for(reply.run_id, reply.attempt, reply.epoch),
            backfill=entry.backfill,
            override=override_of(entry.override),
        )

    def _advice(self, question: ReplayQuestion, record: Record, decided_by: PolicyIdentity) -> Advice | None:
        asked, network = question.observation.questions, self._prepared.network
        if not asked:
            return None
        if self._same_questions and self._gathered.first is None and self._is_own(decided_by):
            return advice_of(record.entry.advice)
        if network is None:
            raise NetworkAbsentError
        try:
            return joined_advice(network.advise(asked))
        except (RuntimeError, ValueError) as error:
            return f"the network failed: {error}"

    def _is_own(self, decided_by: PolicyIdentity) -> bool:
        policy = self._prepared.engine.policy
        return isinstance(policy, LearnedPolicy) and decided_by.sha256 == policy.sha256


def _asks_the_same(logged: RunConfig, replayed: RunConfig) -> bool:
    """Whether a network is asked what it was asked then, as long as both decide the same."""
    return (logged.heuristic, logged.tracker) == (replayed.heuristic, replayed.tracker)
