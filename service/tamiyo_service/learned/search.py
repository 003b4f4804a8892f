"""Search: what other processes know of models, looked up when this one meets it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

from tamiyo_service.learned.registry import FAILURE_STANDS_SECONDS, Registry
from tamiyo_service.store.models import ModelStore

WAIT_SECONDS: Final = 1.0
"""How long a search is waited for: a folder on a network may take forever."""

_LOG: Final = structlog.get_logger(__name__)


class _Sought(NamedTuple):
    began: float
    task: asyncio.Task[None]


class Search:
    """Looks for versions that are not known here, each once within seconds, whoever asks.

    Args:
        store: remembers what was used.
        registry: looks at what is on disk.
        clock: seconds that only rise.
    """

    def __init__(
        self, store: ModelStore, registry: Registry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._sought: dict[str, _Sought] = {}

    def is_due(self, policy_version: str) -> bool:
        """Whether a version would be looked for: that was not done within the last seconds."""
        sought = self._sought.get(policy_version)
        return sought is None or self._is_over(sought)

    async def look_for(self, policy_version: str) -> None:
        """Have the registry know a version, if it is there; looked for again only after some seconds.

        Raises:
            StoreUnavailableError: if the store does not answer.
        """
        if self.is_due(policy_version):
            self._begin(policy_version)
        sought = self._sought[policy_version]
        await asyncio.wait((sought.task,), timeout=max(0.0, sought.began + WAIT_SECONDS - self._clock()))
        if sought.task.done():
            sought.task.result()

    def _begin(self, policy_version: str) -> None:
        self._sought = {version: one for version, one in self._sought.items() if not self._is_over(one)}
        task = asyncio.create_task(self._look(), name="tamiyo-model-search")
        # If nobody waits any more, nobody needs the error.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._sought[policy_version] = _Sought(self._clock(), task)

    def _is_over(self, sought: _Sought) -> bool:
        return sought.task.done() and self._clock() - sought.began >= FAILURE_STANDS_SECONDS

    async def _look(self) -> None:
        await self.remember()
        try:
            await self._registry.look()
        except OSError as error:
            # Runs go on without: the heuristic decides.
            _LOG.warning("models_unreadable", exc_info=error)

    async def remember(self) -> bool:
        """Take note of what was used before, by any process; whether anything was.

        Raises:
            StoreUnavailableError: if the store does not answer.
        """
        used = await self._store.remembered()
        self._registry.remember((f"{row.name}-{row.version}", row.sha256) for row in used)
        return bool(used)
