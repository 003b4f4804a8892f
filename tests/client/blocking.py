"""The asynchronous client behind the synchronous one's face, so that one suite proves both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self, TypeVar

from tamiyo_client import AsyncRun, AsyncTamiyoClient, Decision
from tamiyo_leyline import EpochReport

Item = TypeVar("Item")


class BlockingClient:
    """Runs every call of an `AsyncTamiyoClient` to its end, in an event loop of its own."""

    def __init__(self, runner: asyncio.Runner, *args: Any, **options: Any) -> None:
        self._runner = runner
        self._client = AsyncTamiyoClient(*args, **options)

    def run(self, *args: Any, **options: Any) -> BlockingRun:
        return BlockingRun(self._runner, self._client.run(*args, **options))

    def list_runs(self, **filters: Any) -> Iterator[Any]:
        return iter(self._runner.run(_all(self._client.list_runs(**filters))))

    def decisions(self, run_id: str | None = None, **filters: Any) -> Iterator[Any]:
        return iter(self._runner.run(_all(self._client.decisions(run_id, **filters))))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *args, **options: self._runner.run(method(*args, **options))

    def __enter__(self) -> Self:
        self._runner.run(self._client.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._runner.run(self._client.__aexit__(*error))


class BlockingRun:
    """Runs every call of an `AsyncRun` to its end."""

    def __init__(self, runner: asyncio.Runner, run: AsyncRun) -> None:
        self._runner = runner
        self._run = run

    @property
    def attempt(self) -> int:
        return self._run.attempt

    @property
    def is_started(self) -> bool:
        return self._run.is_started

    def start(self) -> Self:
        self._runner.run(self._run.start())
        return self

    def epoch(self, **measurements: Any) -> Decision:
        return self._runner.run(self._run.epoch(**measurements))

    def report(self, report: EpochReport) -> Decision:
        return self._runner.run(self._run.report(report))

    def outcome(self, *args: Any) -> None:
        self._run.outcome(*args)

    def rewind(self, to_epoch: int | None) -> int:
        return self._runner.run(self._run.rewind(to_epoch))

    def complete(self, result: str) -> bool:
        return self._runner.run(self._run.complete(result))

    def __enter__(self) -> Self:
        self._runner.run(self._run.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._runner.run(self._run.__aexit__(*error))


async def _all(items: AsyncIterator[Item]) -> list[Item]:
    return [item async for item in items]
