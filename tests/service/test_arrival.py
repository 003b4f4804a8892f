"""Bodies that do not arrive: refused in words, in time, also by a service that stops."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.types import Message
from tamiyo_service import Settings
from tamiyo_service.api.arrival import Arrival, Arrivals
from tamiyo_service.errors import OverloadedError
from tamiyo_service.testing import running_service

from tests.service.processes import service_process

PATHS = ["/runs/run/epoch", "/runs/run/complete", "/epochs"]


def begin(url: str, path: str) -> socket.socket:
    """A connection with a request whose body stops after its first byte."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=30)
    connection.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{{".encode())
    return connection


def answer(connection: socket.socket) -> tuple[str, dict[str, str]]:
    """Head and problem of the answer, once the server has closed the connection."""
    with connection:
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).decode().partition("\r\n\r\n")
    return head.lower(), json.loads(body)


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_does_not_arrive_is_refused_and_the_connection_closed(path: str) -> None:
    with running_service(Settings(body_seconds=0.2)) as url:
        # Of two that overlap the second is late too.
        first, second = begin(url, path), begin(url, path)
        answer(first)
        head, problem = answer(second)
    assert head.startswith("http/1.1 503")
    assert "content-type: application/problem+json" in head
    assert "retry-after: 1" in head
    assert (problem["code"], "within 0.2 s" in problem["detail"]) == ("overloaded", True)


@pytest.mark.parametrize("path", PATHS)
def test_a_body_still_under_way_when_the_service_has_stopped_is_refused_in_words(
    tmp_path: Path, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with service_process(tmp_path, shutdown_seconds="1") as service:
        connection = begin(service.url, path)
        # Answered after the bytes above have been read: the server takes them in order.
        with socket.create_connection(
            (urlsplit(service.url).hostname or "", urlsplit(service.url).port or 0)
        ) as other:
            other.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert other.recv(65536)
        assert service.stop() == 0
        head, problem = answer(connection)
    assert head.startswith("http/1.1 503")
    assert "content-type: application/problem+json" in head
    assert "retry-after: 1" in head
    assert problem["code"] == "shutting_down"
    assert "Traceback" not in capfd.readouterr().err


def part(size: int) -> Message:
    """A part of a body, with more to come."""
    return {"type": "http.request", "body": b" " * size, "more_body": True}


END: Message = {"type": "http.request", "body": b"", "more_body": False}


class Sender:
    """An ASGI `Receive`, sent by the test part by part."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._parts: asyncio.Queue[Message] = asyncio.Queue()
        self.arrival = Arrival(self._parts.get, arrivals)

    async def holds(self, size: int) -> asyncio.Task[Message]:
        """Send a part and wait for the next, as an endpoint does."""
        self._parts.put_nowait(part(size))
        await self.arrival()
        waiting = asyncio.ensure_future(self.arrival())
        await asyncio.sleep(0)
        return waiting

    async def end(self, waiting: asyncio.Task[Message]) -> None:
        self._parts.put_nowait(END)
        await waiting


async def test_incomplete_bodies_hold_only_so_much_together() -> None:
    arrivals = Arrivals(30.0, most=100)
    first, second = Sender(arrivals), Sender(arrivals)
    waiting = await first.holds(60)
    with pytest.raises(OverloadedError, match="too many large bodies"):
        await (await second.holds(60))
    await first.end(waiting)
    third = Sender(arrivals)
    await third.end(await third.holds(100))


async def test_a_body_that_comes_at_once_is_never_refused_for_those_of_others() -> None:
    arrivals = Arrivals(30.0, most=100)
    full = Sender(arrivals)
    waiting = await full.holds(100)
    whole: Message = {"type": "http.request", "body": b" " * 1000, "more_body": False}

    async def receive() -> Message:
        return whole

    assert await Arrival(receive, arrivals)() is whole
    await full.end(waiting)


async def test_a_body_that_came_too_late_holds_nothing_any_more() -> None:
    arrivals = Arrivals(0.01, most=100)
    for _ in range(3):
        with pytest.raises(OverloadedError, match="did not arrive"):
            await (await Sender(arrivals).holds(100))
