"""The asynchronous transport: calls run in tasks, and the caller waits no longer than it said.

A task whose time is up is cancelled but not waited for, so that not even a cancellation that takes its
time (a name lookup runs in the event loop's thread pool and cannot be interrupted) holds the caller.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

import httpx

from tamiyo_client.errors import ClientClosedError
from tamiyo_client.settings import Endpoint
from tamiyo_client.tracing import traced
from tamiyo_client.transport import (
    MAX_STUCK,
    client_options,
    incoming,
    outgoing,
    require_small,
    too_late,
    too_many_stuck,
    translated,
)
from tamiyo_client.wire import Response, Send


class TaskTransport:
    """Sends requests, each within its own time. Tasks of one event loop may share it.

    In another event loop, or in a forked process, it begins anew: connections belong to the loop and
    process that made them.

    Args:
        endpoint: where the service is.

    Raises:
        UsageError: if the environment names a proxy or certificates that cannot be used.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint: Final = endpoint
        self._options: Final = client_options(endpoint)
        self._closed = False
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._client: httpx.AsyncClient | None = None
        self._stuck: set[asyncio.Task[Response]] = set()

    async def exchange(self, send: Send) -> Response:
        """Send the request and return the complete response.

        Raises:
            TamiyoError: if there is none in time; see `transport.translated`.
        """
        client = self._client_here()
        if send.timeout_s <= 0.0:
            raise too_late(send.timeout_s)
        if len(self._stuck) >= MAX_STUCK:
            raise too_many_stuck()
        task = asyncio.create_task(self._perform(client, traced(send)))
        try:
            done, _ = await asyncio.wait({task}, timeout=send.timeout_s)
        finally:
            # Also when the caller itself is cancelled.
            self._leave(task)
        if not done:
            raise too_late(send.timeout_s)
        try:
            return task.result()
        except Exception as error:
            raise translated(error) from error

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None and self._home == _here():
            await client.aclose()

    def _client_here(self) -> httpx.AsyncClient:
        if self._closed:
            raise ClientClosedError("the client was closed")
        if self._client is None or self._home != _here():
            self._home, self._stuck = _here(), set()
            self._client = httpx.AsyncClient(**self._options)
        return self._client

    async def _perform(self, client: httpx.AsyncClient, send: Send) -> Response:
        request = outgoing(self._endpoint, send.request, send.timeout_s)
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                require_small(len(body), send.request)
            return incoming(response, bytes(body))
        finally:
            await response.aclose()

    def _leave(self, task: asyncio.Task[Response]) -> None:
        if not task.done():
            task.cancel()
            self._stuck.add(task)
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Response]) -> None:
        self._stuck.discard(task)
        if not task.cancelled():
            # Nobody waits for it any more; reading it keeps asyncio from reporting it as forgotten.
            task.exception()


def _here() -> tuple[int, asyncio.AbstractEventLoop]:
    return os.getpid(), asyncio.get_running_loop()
