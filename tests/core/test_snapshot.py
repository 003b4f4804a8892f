"""A snapshot is strict JSON, and restoring it gives the original."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tamiyo_core import SnapshotError
from tamiyo_core.rehearsal import Rehearsal, seed
from tamiyo_leyline import CommandOutcome, CommandStatus


def rich() -> Rehearsal:
    """A run whose state has something in every field."""
    run = Rehearsal({"heuristic": {"max_concurrent_seeds": 4}})
    fall: dict[str, Any] = {"improvement_since_stage_start": -9.0, "epochs_in_current_stage": 9}
    for epoch in range(8):
        run.report(epoch, val_accuracy=50.0, val_loss=1.0, train_loss=0.9, train_accuracy=60.0)
    run.report(8, seed("s0", "TRAINING"), seed("s1", "BLENDING", alpha=1.0, **fall), val_loss="NaN")
    run.report(9, seed("s1", "BLENDING", alpha=1.0, telemetry={"has_exploding": True}, **fall))
    run.report(11, seed("s1", "CULLED"), seed("s2", "TRAINING", **fall))
    step = run.report(
        13, seed("s1", "CULLED"), seed("s2", "TRAINING", **fall), seed("s3", "TRAINING", **fall)
    )
    told = {"command_id": step.commands[0].command_id, "status": "REFUSED", "detail": "no"}
    late = seed("s3", "TRAINING", telemetry={"has_exploding": True}, **fall)
    run.report(14, seed("s1", "CULLED"), late, outcomes=[told], backfill=True)
    outcome = CommandOutcome(command_id="x", status=CommandStatus.FAILED)
    run.state = run.engine.queue_outcome(run.state, outcome)
    return run


def test_restoring_a_snapshot_through_strict_json_gives_the_original() -> None:
    run = rich()
    text = json.dumps(run.engine.snapshot(run.state), allow_nan=False)
    restored = run.engine.restore(json.loads(text))
    assert restored == run.state
    assert repr(restored) == repr(run.state)


def test_the_initial_state_has_a_snapshot_too() -> None:
    engine = Rehearsal().engine
    assert engine.restore(json.loads(json.dumps(engine.snapshot(engine.initial())))) == engine.initial()


def test_the_example_fills_every_field_of_tracker_and_ledger() -> None:
    state = rich().state
    empty = [name for name, value in state.ledger._asdict().items() if value == ()]
    assert empty == []
    assert [len(state.queued), state.tracker.diverged_reports, len(state.policy.unhealthy)] == [1, 1, 1]


@pytest.mark.parametrize(
    "damage",
    [
        None,
        {},
        [],
        [1],
        [2, [], [], [], []],
        [1, None, None, None, None],
        [1, [], [], [], []],
        [1, {}, {}, {}, {}],
        "snapshot",
    ],
    ids=repr,
)
def test_what_is_no_snapshot_is_refused(damage: Any) -> None:
    with pytest.raises(SnapshotError):
        Rehearsal().engine.restore(damage)


@pytest.mark.parametrize("place", [1, 2, 3, 4])
@pytest.mark.parametrize("junk", [None, 7, [[["x"]]]], ids=repr)
def test_a_damaged_part_is_refused(place: int, junk: Any) -> None:
    run = rich()
    data = run.engine.snapshot(run.state)
    data[place] = junk
    with pytest.raises(SnapshotError):
        run.engine.restore(data)


def test_an_unknown_stage_is_refused() -> None:
    run = rich()
    text = json.dumps(run.engine.snapshot(run.state)).replace('"norm", 8,', '"norm", 99,')
    with pytest.raises(SnapshotError):
        run.engine.restore(json.loads(text))
