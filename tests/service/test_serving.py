"""A real server with a certificate of its own, and behind proxies."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from tamiyo_service import Settings
from tamiyo_service.app import create_app
from tamiyo_service.process import server_config
from tamiyo_service.store import MemoryStore

from tests.service.processes import free_port
from tests.service.samples import report

ROOT: Final = Path(__file__).parents[2]


class Server(uvicorn.Server):
    """Tells when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()


@contextmanager
def served(settings: Settings, app: FastAPI, instead: ASGIApp | None = None) -> Iterator[None]:
    """An application as `tamiyo serve` serves it; `instead` of it another one, without a lifespan."""
    config = server_config(app, settings)
    if instead is not None:
        config.app, config.lifespan = instead, "off"
    server = Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.settled.wait(30), "the server did not start"
        yield
    finally:
        server.should_exit = True
        thread.join()


def certified(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=tamiyo", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", *options, *names, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def test_a_service_with_a_certificate_speaks_https_and_nothing_else(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    settings = Settings(port=free_port(), tls_certfile=certificate, tls_keyfile=key)
    trusted = ssl.create_default_context(cafile=certificate)
    with served(settings, create_app(settings, store=MemoryStore())):
        url = f"https://127.0.0.1:{settings.port}/runs/run/epoch"
        assert httpx.post(url, json=report(1), verify=trusted).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{settings.port}/healthz")


def test_a_process_that_meets_an_encrypted_key_asks_nobody(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    locked = tmp_path / "locked.pem"
    lock = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(lock, check=True, capture_output=True)
    program = "from tamiyo_service import Settings\nfrom tamiyo_service.process import server_config\n"
    program += "server_config('none:none', Settings()).load()"
    # Of a session of its own, it has no terminal: OpenSSL would ask standard input.
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"TAMIYO_TLS_CERTFILE": str(certificate), "TAMIYO_TLS_KEYFILE": str(locked)},
        input="secret\n",
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert "SSLError" in ended.stderr
    assert "pass phrase" not in ended.stderr


def health_of_the_image() -> list[str]:
    """The health check in the image's recipe, for this interpreter."""
    recipe = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    found = re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", recipe, re.MULTILINE)
    assert found is not None
    return [sys.executable, *json.loads(found[1])[1:]]


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


IPV6 = pytest.param("::", False, marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6"))


@pytest.mark.parametrize(
    ("host", "speaks_tls"), [("0.0.0.0", False), ("0.0.0.0", True), ("127.0.0.1", False), IPV6]
)
def test_the_images_health_check_finds_the_service(tmp_path: Path, host: str, speaks_tls: bool) -> None:
    port = free_port()
    settings = Settings(host=host, port=port, auth="off")
    told = os.environ | {"TAMIYO_HOST": host, "TAMIYO_PORT": str(port)}
    if speaks_tls:
        certificate, key = certified(tmp_path)
        settings = Settings(host=host, port=port, auth="off", tls_certfile=certificate, tls_keyfile=key)
        told |= {"TAMIYO_TLS_CERTFILE": str(certificate)}
    with served(settings, create_app(settings, store=MemoryStore())):
        assert subprocess.run(health_of_the_image(), env=told, check=False).returncode == 0
    gone = subprocess.run(health_of_the_image(), env=told, check=False, capture_output=True)
    assert gone.returncode != 0


@pytest.mark.parametrize(
    ("trusted", "client", "scheme"),
    [
        (None, "127.0.0.1", "http"),
        ("10.0.0.0/8", "127.0.0.1", "http"),
        ("10.0.0.0/8, 127.0.0.1", "203.0.113.9", "https"),
    ],
)
def test_only_trusted_proxies_are_believed(trusted: str | None, client: str, scheme: str) -> None:
    async def told(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = f"{scope['client'][0]} {scope['scheme']}"
        await send({"type": "http.response.body", "body": body.encode()})

    settings = Settings(port=free_port(), trusted_proxies=trusted)
    headers = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
    with served(settings, FastAPI(), told):
        answer = httpx.get(f"http://127.0.0.1:{settings.port}/", headers=headers)
    assert answer.text == f"{client} {scheme}"


@pytest.mark.parametrize(
    ("options", "required"),
    [
        ({}, False),
        ({"host": "0.0.0.0"}, True),
        ({"trusted_proxies": "127.0.0.1"}, True),
        ({"trusted_proxies": "127.0.0.1", "auth": "off"}, False),
        ({"auth": "required"}, True),
    ],
)
def test_whoever_others_can_reach_asks_for_keys(options: dict[str, Any], required: bool) -> None:
    assert Settings(**options).keys_required is required


@pytest.mark.parametrize("text", ["*", "", "proxy", "10.0.0.0/8,", "10.0.0.1/8"])
def test_proxies_are_named_by_address(text: str) -> None:
    with pytest.raises(ValueError, match="no address or network"):
        Settings(trusted_proxies=text)


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.0.0.7, 0.0.0.0/0"])
def test_nobody_can_believe_everybody(text: str) -> None:
    with pytest.raises(ValueError, match="everybody"):
        Settings(trusted_proxies=text)


def test_a_key_without_a_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="TAMIYO_TLS_CERTFILE"):
        Settings(tls_keyfile=tmp_path / "key.pem")
