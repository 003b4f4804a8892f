"""Between a report and the journal: what is put together by hand equals what the schemas give."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tamiyo_core import decision_id
from tamiyo_leyline import DecisionReply, RunConfig
from tamiyo_service.runs.creation import draft_session
from tamiyo_service.runs.deciding import (
    Case,
    conclude,
    identity_of,
    observe,
    recompute,
    reply_json,
    same_content,
)
from tamiyo_service.runs.engines import Engines

from tests.service.samples import epoch_report, seed

NOW = datetime(2026, 1, 1, 12, 30, 15, 123456, UTC)

STORIES: dict[str, list[dict[str, Any]]] = {
    "standstill": [{} for _ in range(9)],
    "odd names": [{"seeds": [seed("GERMINATED", seed_id='s"\\ä😀', slot_id="<&'>")]} for _ in range(3)],
    "divergence": [
        {"seeds": [seed("BLENDING", alpha=0.5)], "val_loss": loss} for loss in (1.0, 0.9, "NaN", "-Infinity")
    ],
    "two seeds": [
        {"seeds": [seed("TRAINING"), seed("PROBATIONARY", seed_id="b", slot_id="b")], "available_slots": 0}
        for _ in range(4)
    ],
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_reply_put_together_by_hand_is_what_the_schema_writes(story: list[dict[str, Any]]) -> None:
    session = draft_session("run-1.2:3_A", RunConfig(), Engines())
    for epoch, fields in enumerate(story):
        report = epoch_report(epoch, **fields)
        before = session.standing
        cases = [Case(session, report, report.model_dump_json(), backfill=False)]
        (decided,) = conclude(cases, observe(cases), [None], NOW)
        session.standing = decided.standing
        (entry,) = decided.write.entries
        _, step = recompute(session, None, entry) if epoch == 0 else (None, None)
        if step is None:
            decision = decision_id(session.run_id, 0, epoch)
            step = session.engine.step(before.state, report, decision_id=decision, now=NOW)
        reply = DecisionReply(
            run_id=session.run_id,
            attempt=0,
            epoch=epoch,
            decision_id=decision_id(session.run_id, 0, epoch),
            commands=step.commands,
            policy=identity_of(session.engine),
        )
        assert entry.reply == reply.model_dump_json()
        assert entry.reply == reply_json(
            session.run_id, report, reply.decision_id, step, session.engine.policy
        )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a":1,"b":2}', '{"b":2,"a":1}', True),
        ('{"a":0.0}', '{"a":-0.0}', True),
        ('{"a":"NaN"}', '{"a":"NaN"}', True),
        ('{"a":[1,2]}', '{"a":[2,1]}', False),
        ('{"a":1}', '{"a":1,"b":2}', False),
    ],
)
def test_content_is_the_same_whatever_the_order_of_keys(one: str, other: str, same: bool) -> None:
    assert same_content(one, other) is same
