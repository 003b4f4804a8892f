"""Real runs to make large archives from: what the service itself stored of pretended trainings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from tamiyo_leyline import DecisionReply, EpochReport, RunConfig, RunResult
from tamiyo_leyline.api import RewindRequest
from tamiyo_service import Settings, create_app
from tamiyo_service.api.services import Services

from bench.pretend import PretendTraining

USUAL: Final = 20
"""Trainings that end."""
USUAL_EPOCHS: Final = 104
LONG_ID: Final = "the-longest-run0"
_DIVERGING: Final = 7
_REWOUND: Final = 11
_TEAMS: Final = ("vision", "speech", "vision", "robots")


def usual_id(number: int) -> str:
    """The id of a template; as long as those of the archive, so that rows weigh the same."""
    return f"template-{number:07d}"


def config_of(number: int) -> RunConfig:
    """What a run of that template was created with."""
    return RunConfig(labels={"team": _TEAMS[number % len(_TEAMS)]})


def write_templates(database: Path, long_epochs: int) -> None:
    """Train the usual runs and one long one against the service on an SQLite file.

    Args:
        database: the file, made anew.
        long_epochs: of the long run.
    """
    asyncio.run(_write(database, long_epochs))


async def _write(database: Path, long_epochs: int) -> None:
    app = create_app(Settings(database_url=f"sqlite:///{database}"))
    services: Services = app.state.services
    async with app.router.lifespan_context(app):
        for number in range(USUAL):
            await _train_usual(services, number)
        await services.lifecycle.create(LONG_ID, config_of(0))
        await _train(services, LONG_ID, PretendTraining(USUAL), range(long_epochs))


async def _train_usual(services: Services, number: int) -> None:
    run_id = usual_id(number)
    await services.lifecycle.create(run_id, config_of(number))
    training = PretendTraining(number, diverges_at=60 if number == _DIVERGING else None)
    await _train(services, run_id, training, range(USUAL_EPOCHS))
    if number == _REWOUND:
        await services.lifecycle.rewind(run_id, RewindRequest(to_epoch=USUAL_EPOCHS - 5, attempt=1))
    elif number % 3:
        await services.lifecycle.complete(run_id, RunResult.SUCCEEDED)


async def _train(services: Services, run_id: str, training: PretendTraining, epochs: range) -> None:
    for epoch in epochs:
        report = EpochReport.model_validate(training.report(epoch))
        reply = await services.intake.report(run_id, report.model_dump_json().encode())
        for command in DecisionReply.model_validate_json(reply.body).commands:
            training.obey(command)
