"""Connections are bounded in number, and so are the heads of requests in size and time."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.service.processes import ServiceProcess, service_process

LIMIT = 4


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("narrow")
    with service_process(folder, connections=str(LIMIT), head_seconds="0.5") as running:
        yield running


def connected(service: ServiceProcess) -> socket.socket:
    url = httpx.URL(service.url)
    assert url.port is not None
    return socket.create_connection((url.host, url.port), timeout=20)


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def answered(connection: socket.socket) -> bytes:
    """A whole answer, whose body is a JSON object."""
    received = b""
    while not received.endswith(b"}"):
        part = connection.recv(65536)
        assert part, received
        received += part
    return received


def problem_in(response: bytes) -> dict[str, object]:
    document: dict[str, object] = json.loads(response.partition(b"\r\n\r\n")[2])
    return document


def keep_asking(service: ServiceProcess) -> httpx.Response:
    """Ask until a connection is free again."""
    with httpx.Client(base_url=service.url) as http:
        while (response := http.get("/healthz")).status_code == 503:
            assert response.json()["code"] == "overloaded"
        return response


def test_one_connection_too_many_is_told_to_come_back(narrow: ServiceProcess) -> None:
    assert keep_asking(narrow).status_code == 200
    with ExitStack() as held:
        for _ in range(LIMIT):
            connection = held.enter_context(connected(narrow))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert answered(connection).startswith(b"HTTP/1.1 200")
        with connected(narrow) as surplus:
            refusal = everything(surplus)
        assert refusal.startswith(b"HTTP/1.1 503")
        assert b"\r\nretry-after: 1\r\n" in refusal
        assert problem_in(refusal)["code"] == "overloaded"
    assert keep_asking(narrow).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nx: "], ids=["nothing", "a part"])
def test_a_head_that_does_not_arrive_in_time_ends_the_connection(narrow: ServiceProcess, sent: bytes) -> None:
    with connected(narrow) as connection:
        connection.sendall(sent)
        assert everything(connection) == b""


def test_a_slow_second_head_ends_the_connection_too(narrow: ServiceProcess) -> None:
    request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with connected(narrow) as connection:
        connection.sendall(request)
        assert answered(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /heal")
        assert everything(connection) == b""


def test_a_head_in_pieces_is_read(narrow: ServiceProcess) -> None:
    with connected(narrow) as connection:
        for piece in (b"GET /heal", b"thz HTTP/1.1\r\nhost", b": localhost\r\n\r\n"):
            connection.sendall(piece)
        assert answered(connection).startswith(b"HTTP/1.1 200")


def test_an_endless_head_is_refused(narrow: ServiceProcess) -> None:
    with connected(narrow) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        received = b""
        while not received:
            connection.sendall(b"x: " + b"y" * 8000 + b"\r\n")
            connection.settimeout(0.01)
            try:
                received = connection.recv(65536)
            except TimeoutError:
                continue
        assert received.startswith(b"HTTP/1.1 413")
        assert problem_in(received)["code"] == "payload_too_large"
