"""Where everything is wired together."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import structlog
from fastapi import Depends, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from tamiyo_core.learned import LEARNED
from tamiyo_leyline import __version__

from tamiyo_service.api import (
    batch,
    decisions,
    events,
    export,
    field_reports,
    health,
    metrics,
    models,
    notes,
    operators,
    page,
    reference,
    replay,
    runs,
    series,
    session,
)
from tamiyo_service.api.border import Border, Gate
from tamiyo_service.api.calling import authorize
from tamiyo_service.api.epoch import EpochEndpoint
from tamiyo_service.api.handlers import install
from tamiyo_service.api.openapi import describe
from tamiyo_service.api.queries import refuse_repetitions
from tamiyo_service.api.readiness import Readiness
from tamiyo_service.api.services import Services
from tamiyo_service.auth.first_key import first_key
from tamiyo_service.auth.guard import Guard
from tamiyo_service.auth.limits import Limiter, parse_rate
from tamiyo_service.auth.ring import KeyRing
from tamiyo_service.clock import Clock, utc_now
from tamiyo_service.direct import DIRECT
from tamiyo_service.learned.activation import Activations
from tamiyo_service.learned.batcher import Batcher
from tamiyo_service.learned.comparing import Comparing
from tamiyo_service.learned.registry import Registry
from tamiyo_service.learned.shadows import Shadows
from tamiyo_service.live.hub import Hub
from tamiyo_service.observability.collector import Observed
from tamiyo_service.observability.decision_log import log_decisions
from tamiyo_service.observability.silence import Silence
from tamiyo_service.observability.spans import TracedRequests, Tracer, seat_of
from tamiyo_service.observability.tallies import ReportTally
from tamiyo_service.observability.tracing import Tracing, tracing_of
from tamiyo_service.retention.erasing import Eraser
from tamiyo_service.retention.opening import open_archive
from tamiyo_service.retention.rules import Rules
from tamiyo_service.retention.sweep import Sweep
from tamiyo_service.retention.sweeper import Sweeper
from tamiyo_service.runs.batches import Batches
from tamiyo_service.runs.creation import Beginnings
from tamiyo_service.runs.desk import Desk
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.field_reports import FieldReports
from tamiyo_service.runs.forgetting import forget
from tamiyo_service.runs.history import History
from tamiyo_service.runs.intake import Intake
from tamiyo_service.runs.lifecycle import Lifecycle
from tamiyo_service.runs.newcomers import Newcomers
from tamiyo_service.runs.remarks import Remarks
from tamiyo_service.runs.replaying import Replays
from tamiyo_service.runs.reports import Reports
from tamiyo_service.runs.session import Sessions
from tamiyo_service.runs.steering import Steering
from tamiyo_service.settings import Settings, shadow_choices
from tamiyo_service.store import SqlStore, Store

_LOG: Final = structlog.get_logger(__name__)
_ROUTED: Final = (
    runs,
    batch,
    decisions,
    events,
    export,
    field_reports,
    notes,
    models,
    operators,
    replay,
    series,
    session,
    health,
    metrics,
)
"""Modules whose routes take keys; those of the page and of the reference are for everybody."""


def create_app(
    settings: Settings | None = None,
    *,
    store: Store | None = None,
    clock: Clock = utc_now,
    tracing: Tracing | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Its lifespan opens and closes the store: run it under a server, or enter
    ``app.router.lifespan_context(app)``.

    Args:
        settings: None: read from the environment.
        store: None: an SQL store at `settings.database_url`.
        clock: tells when things happen.
        tracing: where spans go; None: as settings and environment say.

    Raises:
        DatabaseUrlError: if the database URL cannot be used.
        ArchiveError: if the archive cannot be used.
        TracingError: if traces are asked for by name and cannot be had.
    """
    settings = Settings() if settings is None else settings
    tracing = tracing_of(settings.traces, os.environ) if tracing is None else tracing
    tracer = None if tracing is None else tracing.tracer
    services = _wire(settings, store, clock, tracer)
    endpoint = EpochEndpoint(services.intake, services.history, services.tally.answering)
    app = _App(
        title="Tamiyo",
        version=__version__,
        description="The decision service for neural networks that grow while they train.",
        lifespan=partial(_lifespan, settings),
        redirect_slashes=False,
        # Its own documents are written anew for everybody who asks.
        openapi_url=None,
        # A missing content-type is taken for JSON.
        strict_content_type=False,
    )
    app.state.services = services
    border = Border(
        app.behind_border,
        services.gate,
        services.guard,
        endpoint,
        settings.body_seconds,
        services.tally.refusals,
    )
    app.border = border if tracer is None else TracedRequests(border, tracer)
    # What is traced takes the whole way.
    app.state.lifespan = {} if tracer is not None else {DIRECT: border}
    app.state.tracing = tracing
    install(app)
    app.router.routes.insert(0, endpoint.route())
    for module in _ROUTED:
        app.include_router(module.router, dependencies=[Depends(authorize), Depends(refuse_repetitions)])
    app.include_router(reference.reference_router(lambda: app.openapi()))
    app.include_router(page.page_router(page.PageFiles.shipped()))
    describe(app, endpoint.documentation, keys_required=settings.keys_required)
    return app


class _App(FastAPI):
    """FastAPI behind the border."""

    border: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self.border(scope, receive, send)

    async def behind_border(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that the border let through."""
        await super().__call__(scope, receive, send)


def _wire(settings: Settings, store: Store | None, clock: Clock, tracer: Tracer | None) -> Services:
    store = _store(settings) if store is None else store
    if settings.log_decisions:
        store.tally.listener = log_decisions
    registry = Registry(settings.models, settings.device)
    activations = Activations(store.models, registry, clock)
    engines = Engines(registry, activations.search)
    beginnings = Beginnings(activations, registry, engines, settings.default_policy)
    choices = shadow_choices(settings.shadow) if settings.shadow else ()
    comparing = Comparing(store, engines, activations, registry, clock, choices)
    sessions = Sessions(store, engines, settings.cached_runs)
    eraser = Eraser(store)
    desk = Desk(store, sessions, eraser)
    tally = ReportTally()
    advisor = Batcher(registry, deadline=settings.model_deadline, limit=settings.model_queue)
    seat = seat_of(tracer)(store, advisor, clock, desk.end, sessions.release, tally)
    reports = Reports(store.report, advisor, clock, tally)
    newcomers = Newcomers(store, engines, beginnings.default, clock)
    gate = Gate()
    shadows = Shadows(store.shadows, comparing, clock, holder=secrets.token_hex(8), always=bool(choices))
    live = Hub(store, lambda: gate.ending, seats=settings.subscribers)
    sweeper = _sweeper(settings, store, sessions, clock)
    history = History(store, engines)
    ring = KeyRing(store.keys, clock) if settings.keys_required else None
    return Services(
        store=store,
        intake=Intake(sessions, desk, newcomers, seat, reports, auto_create=settings.auto_create),
        batches=Batches(
            store, sessions, desk, newcomers if settings.auto_create else None, advisor, clock, tally
        ),
        lifecycle=Lifecycle(store, beginnings, engines, desk, clock),
        steering=Steering(store, beginnings, engines, desk, clock),
        history=history,
        gate=gate,
        clock=clock,
        readiness=Readiness(store, gate, settings.stall_seconds),
        eraser=eraser,
        sweeper=sweeper,
        field_reports=FieldReports(store, history),
        remarks=Remarks(store, desk, clock),
        replays=Replays(store, engines, activations, registry),
        registry=registry,
        batcher=advisor,
        activations=activations,
        shadows=shadows,
        default_policy=settings.default_policy,
        live=live,
        tally=tally,
        observed=Observed(store, sessions, tally, advisor, shadows, live, sweeper),
        silence=Silence(store, clock),
        guard=_guard(settings, ring),
        ring=ring,
    )


def _store(settings: Settings) -> Store:
    return SqlStore(
        settings.database_url, write_limit=settings.write_queue, swift_writes=settings.swift_writes
    )


def _guard(settings: Settings, ring: KeyRing | None) -> Guard:
    rates = (settings.rate_limit_key, settings.rate_limit_run)
    per_key, per_run = (
        None if rate is None else Limiter(parse_rate(rate), what)
        for rate, what in zip(rates, ("a key", "about a run, everybody together"), strict=True)
    )
    return Guard(ring, metrics_open=settings.metrics_open, per_key=per_key, per_run=per_run)


def _sweeper(settings: Settings, store: Store, sessions: Sessions, clock: Clock) -> Sweeper:
    rules = Rules(completed_for=settings.retention, silent_for=settings.retention_silent)
    archive = None if settings.archive is None else open_archive(settings.archive)
    sweep = Sweep(store, rules, clock, archive=archive, forget=partial(forget, sessions))
    return Sweeper(sweep, settings.sweep_seconds)


@asynccontextmanager
async def _lifespan(settings: Settings, app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    services: Services = app.state.services
    await services.store.open()
    await services.activations.open(load=services.default_policy == LEARNED)
    await services.intake.warm_up()
    if services.ring is not None and not await services.store.keys.all():
        _LOG.warning("no_keys", remedy=f"nobody can call: make one with `{first_key(settings.database_url)}`")
    try:
        async with AsyncExitStack() as running:
            await running.enter_async_context(services.sweeper.running())
            await running.enter_async_context(services.shadows.running())
            if services.ring is not None:
                await running.enter_async_context(services.ring.running())
            yield app.state.lifespan
    finally:
        services.gate.close()
        await services.live.close()
        await services.batcher.close()
        await services.eraser.close()
        await services.silence.close()
        await services.readiness.close()
        await services.store.close()
        if app.state.tracing is not None:
            await asyncio.to_thread(app.state.tracing.close)
