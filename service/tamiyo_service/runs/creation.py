"""How a run begins."""

from __future__ import annotations

from datetime import datetime

from tamiyo_core import RULES_VERSION
from tamiyo_leyline import RunConfig

from tamiyo_service.clock import to_micros
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.session import DRAFT_PK, Session, Standing
from tamiyo_service.store.rows import NewRun


def new_run(run_id: str, config: RunConfig, now: datetime) -> NewRun:
    """The row of a new run, its configuration with all defaults filled in."""
    return NewRun(
        run_id=run_id,
        config=config.model_dump_json(),
        rules_version=RULES_VERSION,
        policy=config.policy.name,
        created_at=to_micros(now),
        labels=tuple(config.labels.items()),
    )


def draft_session(run_id: str, config: RunConfig, engines: Engines) -> Session:
    """A session of a run that does not exist yet, to find out whether a report would be accepted."""
    engine = engines.of(config)
    return Session(DRAFT_PK, run_id, engine, Standing(engine.initial()))
