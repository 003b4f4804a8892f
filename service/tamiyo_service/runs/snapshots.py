"""A run's state as JSON, and back."""

from __future__ import annotations

import orjson
from tamiyo_core import Engine, RunState

from tamiyo_service.runs.absent import UNDECIDED


def snapshot(engine: Engine, state: RunState) -> str:
    """The state as JSON."""
    return orjson.dumps(engine.snapshot(state)).decode()


def restored(engine: Engine, text: str) -> RunState:
    """The inverse of `snapshot`, whichever engine took it: one without its policy or this one.

    Raises:
        SnapshotError: if the text is damaged.
    """
    data = orjson.loads(text)
    if isinstance(data, list) and data[-1:] == [UNDECIDED]:
        data[-1] = engine.policy.snapshot(engine.policy.initial())
    return engine.restore(data)
