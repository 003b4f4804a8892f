"""Pages of reports and the policies that are to decide about them: from which state, with which network."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import orjson
import structlog
from tamiyo_core import Engine
from tamiyo_core.learned import LEARNED, LearnedPolicy
from tamiyo_core.policy import Advice
from tamiyo_leyline import PolicyChoice

from tamiyo_service.clock import Clock, to_micros
from tamiyo_service.errors import InvalidConfigError, ModelRejectedError, NoArtifactError
from tamiyo_service.learned.activation import Activations
from tamiyo_service.learned.artifacts import Network
from tamiyo_service.learned.registry import Registry
from tamiyo_service.learned.shadowing import Case, Seen, conclude, joined_advice, observe
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.timeline import kept_up_to
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.shadows import Chosen, Followed, ShadowRow

Networks = Mapping[str, Network]
"""By the SHA-256 of their artifacts."""
_Latest = dict[Chosen, ShadowRow]

_TOLD: Final = 1_000
"""Reasons remembered as told."""
_LOG: Final = structlog.get_logger(__name__)


class Compared(NamedTuple):
    """What a page came to."""

    rows: list[ShadowRow]
    failed: Counter[tuple[str, str]]
    """Decisions that could not be made, by name and version of the policy."""


class _Begun(NamedTuple):
    """A case, and the snapshot of its policy's state before it; None: it begins here."""

    case: Case
    state: str | None


class Comparing:
    """Decides about pages of reports.

    Args:
        store: tells what was decided before.
        engines: know the policies.
        activations: tell which version of the learned policy is active.
        registry: loads networks.
        clock: tells when something happens.
        choices: policies that shadow every run.
    """

    def __init__(
        self,
        store: Store,
        engines: Engines,
        activations: Activations,
        registry: Registry,
        clock: Clock,
        choices: Sequence[PolicyChoice],
    ) -> None:
        self._store = store
        self._engines = engines
        self._activations = activations
        self._registry = registry
        self._clock = clock
        self._choices = tuple(choices)
        self._told: set[tuple[PolicyChoice, str]] = set()

    async def compare(self, page: Sequence[Followed]) -> Compared:
        """What the shadow policies decide about a page. Where one report leads, the next of its run begins.

        Raises:
            StoreUnavailableError: if the store does not answer.
        """
        done = Compared([], Counter())
        cases = await self._cases(page)
        networks = await self._networks(cases)
        latest = await self._store.shadows.latest(list({case.chosen for case in cases}))
        while cases:
            wave, cases = _first_of_each(cases)
            begun = [_Begun(case, await self._state(case, latest)) for case in wave if _is_new(case, latest)]
            compared = await asyncio.to_thread(_decide, begun, networks, to_micros(self._clock()))
            latest |= {Chosen(row.run_pk, row.policy, row.version): row for row in compared.rows}
            done.rows.extend(compared.rows)
            done.failed.update(compared.failed)
        return done

    async def _cases(self, page: Sequence[Followed]) -> list[Case]:
        """Every report with every policy that shadows its run, in the order of the reports."""
        engines = {config: await self._shadows_of(config) for config in {one.config for one in page}}
        return [
            Case(one, engine, engine.policy.sha256 if isinstance(engine.policy, LearnedPolicy) else None)
            for one in page
            for engine in _others(engines[one.config], one)
        ]

    async def _shadows_of(self, config: str) -> list[Engine]:
        """Engines of the policies that shadow the runs of a configuration, maybe the runs' own among them."""
        _, run_config = self._engines.stored_with_config(config)
        found: dict[tuple[str, str], Engine] = {}
        for choice in dict.fromkeys((*self._choices, *run_config.shadow)):
            shadowed = run_config.model_copy(update={"policy": choice})
            try:
                if choice.name == LEARNED:
                    shadowed = await self._activations.pinned(shadowed)
                other = self._engines.of(shadowed)
            except (NoArtifactError, InvalidConfigError, ModelRejectedError) as error:
                self._tell_once("shadow_absent", choice, error.message)
                continue
            found.setdefault((other.policy.name, other.policy.version), other)
        return list(found.values())

    async def _networks(self, cases: Sequence[Case]) -> Networks:
        """The networks that are asked, as far as they can be loaded."""
        found: dict[str, Network] = {}
        for sha256 in {case.sha256 for case in cases if case.sha256 is not None}:
            try:
                found[sha256] = await self._registry.load_for_shadows(sha256)
            except ModelRejectedError as error:
                _LOG.debug("shadow_without_network", sha256=sha256, reason=error.message)
        return found

    def _tell_once(self, what: str, choice: PolicyChoice, reason: str) -> None:
        if (choice, reason) not in self._told and len(self._told) < _TOLD:
            self._told.add((choice, reason))
            _LOG.warning(what, policy=choice.name, version=choice.version, reason=reason)

    async def _state(self, case: Case, latest: _Latest) -> str | None:
        """The state the policy has reached, in the attempt of the report."""
        entry, last = case.report.entry, latest.get(case.chosen)
        if last is None or last.attempt == entry.attempt:
            return None if last is None else last.state
        rewinds = (await self._store.rewinds([entry.run_pk])).get(entry.run_pk, ())
        opened = next((rewind for rewind in rewinds if rewind.attempt == entry.attempt), None)
        if opened is None:
            return None
        to_epoch = None if opened.to_epoch < 0 else opened.to_epoch
        kept = await kept_up_to(self._store, entry.run_pk, to_epoch, entry.attempt - 1, rewinds)
        row = None if kept is None else await self._store.shadows.decided(case.chosen, kept.seq)
        return None if row is None else row.state


def _others(engines: Sequence[Engine], report: Followed) -> list[Engine]:
    """Without the policy that decided about the report itself: an operator may have given its run another."""
    if not engines:
        return []
    own = orjson.loads(report.entry.reply or "{}").get("policy", {})
    decided = (own.get("name"), own.get("version"))
    return [engine for engine in engines if (engine.policy.name, engine.policy.version) != decided]


def _first_of_each(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """The first case of every policy and run, and the others."""
    first: dict[Chosen, Case] = {}
    rest = [case for case in cases if first.setdefault(case.chosen, case) is not case]
    return list(first.values()), rest


def _is_new(case: Case, latest: _Latest) -> bool:
    """Whether it was not decided before, by who held the share then."""
    last = latest.get(case.chosen)
    return last is None or last.seq < case.report.entry.seq


def _decide(begun: Sequence[_Begun], networks: Networks, at: int) -> Compared:
    """In a thread: take the reports in, ask each network all its questions at once, decide."""
    done = Compared([], Counter())
    seen = _observed(begun, networks, done)
    for one, advice in zip(seen, _advised(seen, networks), strict=True):
        try:
            done.rows.append(conclude(one, advice, at))
        except Exception as error:  # noqa: BLE001 - a policy may be anybody's; the others are not to suffer
            _failed(one.case, error, done)
    return done


def _observed(begun: Sequence[_Begun], networks: Networks, done: Compared) -> list[Seen]:
    seen = []
    for case, state in begun:
        if case.sha256 is not None and case.sha256 not in networks:
            _failed(case, None, done)
            continue
        try:
            seen.append(observe(case, state))
        except Exception as error:  # noqa: BLE001 - a policy may be anybody's; the others are not to suffer
            _failed(case, error, done)
    return seen


def _advised(seen: Sequence[Seen], networks: Networks) -> list[Advice | None]:
    """For each report the advice it gets; None: it had no question."""
    advice: list[Advice | None] = [None] * len(seen)
    for sha256, network in networks.items():
        asking = [number for number, one in enumerate(seen) if one.case.sha256 == sha256 and one.questions]
        questions = [question for number in asking for question in seen[number].questions]
        try:
            answers = iter(network.advise(questions))
        except (RuntimeError, ValueError) as error:
            _LOG.error("shadow_network_failed", sha256=sha256, exc_info=error)
            answers = iter([f"the network failed: {error}"] * len(questions))
        for number in asking:
            advice[number] = joined_advice([next(answers) for _ in seen[number].questions])
    return advice


def _failed(case: Case, error: Exception | None, done: Compared) -> None:
    policy = case.engine.policy
    done.failed[policy.name, policy.version] += 1
    if error is not None:
        run, entry = case.report.run_id, case.report.entry
        _LOG.error(
            "shadow_failed",
            run=run,
            epoch=entry.epoch,
            policy=policy.name,
            version=policy.version,
            exc_info=error,
        )
