"""Bodies that do not arrive: refused in words, in time, also by a service that stops."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tamiyo_service import Settings
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
