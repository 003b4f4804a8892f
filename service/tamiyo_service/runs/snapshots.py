"""A run's state as JSON, and back; and what an operator ordered of it."""

from __future__ import annotations

import orjson
from tamiyo_core import Engine, Override, RunState

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


def override_text(override: Override | None) -> str | None:
    """An operator's order as JSON."""
    return None if override is None else orjson.dumps(tuple(override)).decode()


def override_of(text: str | None) -> Override | None:
    """The inverse of `override_text`."""
    return None if text is None else Override(*orjson.loads(text))
