from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol, cast

import pytest
from tamiyo_client import TamiyoClient

from tests.client.blocking import BlockingClient
from tests.client.stand_in import StandIn


class Connect(Protocol):
    """Makes a client of the stand-in (or another address), closed when the test ends."""

    def __call__(self, url: str | None = None, **options: Any) -> TamiyoClient: ...


@pytest.fixture
def service() -> Iterator[StandIn]:
    stand_in = StandIn()
    yield stand_in
    stand_in.stop()


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest, service: StandIn) -> Iterator[Connect]:
    """Both clients, one after the other: they promise the same."""
    with ExitStack() as stack:
        if request.param == "sync":
            yield lambda url=None, **options: stack.enter_context(TamiyoClient(url or service.url, **options))
        else:
            runner = stack.enter_context(asyncio.Runner())
            yield lambda url=None, **options: cast(
                "TamiyoClient", stack.enter_context(BlockingClient(runner, url or service.url, **options))
            )
