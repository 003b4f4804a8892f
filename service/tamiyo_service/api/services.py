"""What the routes work with, and how they get hold of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from tamiyo_service.api.border import Gate
from tamiyo_service.api.readiness import Readiness
from tamiyo_service.auth.guard import Guard
from tamiyo_service.auth.ring import KeyRing
from tamiyo_service.clock import Clock
from tamiyo_service.learned.activation import Activations
from tamiyo_service.learned.batcher import Batcher
from tamiyo_service.learned.registry import Registry
from tamiyo_service.learned.shadows import Shadows
from tamiyo_service.live.hub import Hub
from tamiyo_service.observability.collector import Observed
from tamiyo_service.observability.silence import Silence
from tamiyo_service.observability.tallies import ReportTally
from tamiyo_service.retention.erasing import Eraser
from tamiyo_service.retention.sweeper import Sweeper
from tamiyo_service.runs.batches import Batches
from tamiyo_service.runs.field_reports import FieldReports
from tamiyo_service.runs.history import History
from tamiyo_service.runs.intake import Intake
from tamiyo_service.runs.lifecycle import Lifecycle
from tamiyo_service.runs.remarks import Remarks
from tamiyo_service.runs.replaying import Replays
from tamiyo_service.runs.steering import Steering
from tamiyo_service.store.protocol import Store


@dataclass(frozen=True)
class Services:
    """The service's parts, wired together.

    Attributes:
        store: keeps everything.
        intake: answers reports.
        batches: answers many at once.
        lifecycle: changes runs otherwise.
        steering: takes operators' orders.
        history: tells what was decided and why.
        gate: closes when the service stops.
        clock: tells the time.
        readiness: tells whether decisions can be made and stored.
        eraser: deletes the rows of runs that were deleted.
        sweeper: deletes runs that need not be kept.
        field_reports: tell what became of seeds.
        remarks: keeps what operators say of runs.
        replays: tell what other policies would have decided.
        batcher: asks networks for many runs at once.
        registry: knows the models.
        activations: tell which of them are active.
        shadows: decide too, behind the requests.
        default_policy: of runs that name none.
        live: tells those who follow it what happens.
        tally: counts reports, and refusals of any kind.
        observed: what metrics are of.
        silence: tells how many runs have gone silent.
        guard: finds out who calls.
        ring: knows keys and sessions; None: authentication is off.
    """

    store: Store
    intake: Intake
    batches: Batches
    lifecycle: Lifecycle
    steering: Steering
    history: History
    gate: Gate
    clock: Clock
    readiness: Readiness
    eraser: Eraser
    sweeper: Sweeper
    field_reports: FieldReports
    remarks: Remarks
    replays: Replays
    registry: Registry
    batcher: Batcher
    activations: Activations
    shadows: Shadows
    default_policy: str
    live: Hub
    tally: ReportTally
    observed: Observed
    silence: Silence
    guard: Guard
    ring: KeyRing | None


async def _wired(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


Wired = Annotated[Services, Depends(_wired)]
"""A route's parameter: the service's parts."""
