"""Runs that a report introduces: they are created with the default configuration."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tamiyo_leyline import RunConfig

from tamiyo_service.clock import Clock
from tamiyo_service.runs.creation import draft_session, new_run
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.session import Session
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import RunRow


class Newcomers:
    """Creates runs.

    Args:
        store: keeps them.
        engines: where engines are shared.
        default: tells the configuration that new runs get now.
        clock: tells when they are created.
    """

    def __init__(
        self, store: Store, engines: Engines, default: Callable[[], Awaitable[RunConfig]], clock: Clock
    ) -> None:
        self._store = store
        self._engines = engines
        self._default = default
        self._clock = clock

    async def config(self) -> RunConfig:
        """What a run gets that is created now."""
        return await self._default()

    def draft(self, run_id: str, config: RunConfig) -> Session:
        """The run as it would be, to find out whether its report would be accepted."""
        return draft_session(run_id, config, self._engines)

    async def create(self, run_id: str, config: RunConfig) -> tuple[RunRow, bool]:
        """The run of that id, and whether this call created it."""
        return await self._store.create_run(new_run(run_id, config, self._clock()))
