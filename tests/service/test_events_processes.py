"""Live streams of a real server: nothing keeps the events back, and none keeps it from stopping."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import httpx

from tests.service.processes import service_process
from tests.service.samples import report


def test_an_event_arrives_before_the_stream_ends_and_a_stop_ends_the_stream(tmp_path: Path) -> None:
    with (
        service_process(tmp_path, shutdown_seconds="20") as service,
        httpx.Client(base_url=service.url, timeout=30) as http,
        http.stream("GET", "/events?type=decision") as stream,
    ):
        lines = stream.iter_lines()
        assert next(lines).startswith(":")
        httpx.post(f"{service.url}/runs/run/epoch", json=report(0))
        assert next(line for line in lines if line.startswith("event:")) == "event: decision"
        began = time.monotonic()
        service.process.terminate()
        rest = list(lines)
        assert service.process.wait(30) == 0
    assert "event: closing" in rest
    assert time.monotonic() - began < 15


def test_a_follower_who_never_reads_keeps_no_service_from_stopping(tmp_path: Path) -> None:
    with service_process(tmp_path, shutdown_seconds="1") as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            silent.connect((host, int(port)))
            silent.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with httpx.Client(base_url=service.url) as http:
                for epoch in range(400):
                    assert http.post("/runs/run/epoch", json=report(epoch)).status_code == 200
            assert service.stop(timeout=20) == 0
