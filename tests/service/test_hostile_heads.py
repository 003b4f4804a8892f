"""Requests that nobody honest sends, on real connections: refused as problems, and nothing is smuggled."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from tamiyo_leyline import Problem
from tamiyo_service.connections import MAX_ADDRESS_BYTES, MAX_HEAD_BYTES, MAX_HEADERS, is_local_name

from tests.service.processes import ServiceProcess, service_process
from tests.service.samples import report
from tests.service.test_connections import connected, everything

BODY = json.dumps(report(1)).encode()
SIZE = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED = b"PUT /runs/smuggled HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service_process(tmp_path_factory.mktemp("hostile")) as running:
        yield running


def post(*headers: bytes, body: bytes = BODY, run: bytes = b"run") -> bytes:
    """A report, with these headers besides the host."""
    return (
        b"POST /runs/" + run + b"/epoch HTTP/1.1\r\nhost: localhost\r\n" + b"".join(headers) + b"\r\n" + body
    )


def get(path: bytes = b"/healthz", *headers: bytes, host: bytes = b"host: localhost\r\n") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + host + b"".join(headers) + b"\r\n"


def refusal(service: ServiceProcess, sent: bytes) -> Problem:
    """The problem that a connection is told, which is closed then."""
    with connected(service) as connection:
        connection.sendall(sent)
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    document = Problem.model_validate_json(body)
    assert head.startswith(b"HTTP/1.1 %d " % document.status)
    return document


MALFORMED = {
    "lengths that differ": post(SIZE, b"content-length: 5\r\n"),
    "the same length twice": post(SIZE, SIZE),
    "a list of lengths": post(b"content-length: 5, 5\r\n"),
    "a negative length": post(b"content-length: -5\r\n"),
    "a length with a sign": post(b"content-length: +5\r\n"),
    "a length beyond all bounds": post(b"content-length: 99999999999999999999999\r\n"),
    "length and chunks": post(b"content-length: 5\r\n", CHUNKED, body=CHUNKS),
    "chunks and length": post(CHUNKED, b"content-length: 5\r\n", body=CHUNKS),
    "chunks that are not the last coding": post(b"transfer-encoding: chunked, identity\r\n", body=CHUNKS),
    "another coding": post(b"transfer-encoding: xchunked\r\n", SIZE),
    "two codings": post(CHUNKED, b"transfer-encoding: identity\r\n", body=CHUNKS),
    "a space before the colon": post(b"transfer-encoding : chunked\r\n", body=CHUNKS),
    "a chunk of no size": post(CHUNKED, body=b"zz\r\n" + BODY),
    "a chunk beyond all bounds": post(CHUNKED, body=b"fffffffffffffffff\r\n"),
    "bare line feeds": post(SIZE).replace(b"\r\n", b"\n"),
    "a folded header": post(b"x: a\r\n b\r\n", SIZE),
    "a null byte in a header": post(b"x: a\0b\r\n", SIZE),
    "another protocol's body": post(b"connection: upgrade\r\nupgrade: h2c\r\n", SIZE),
    "no host": get(host=b""),
    "two hosts": get(b"/healthz", b"host: localhost\r\n"),
    "bytes that are no path": get(b"/runs/\xc3\xa4"),
    "a method nobody knows": get().replace(b"GET", b"STEAL"),
    "a tunnel": b"CONNECT localhost:443 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a later HTTP": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100050100000100"),
}  # fmt: skip


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_request_is_refused_and_what_follows_it_is_never_read(
    service: ServiceProcess, sent: bytes
) -> None:
    document = refusal(service, sent + SMUGGLED)
    assert (document.status, document.code) == (400, "invalid_request")
    with httpx.Client(base_url=service.url) as http:
        assert http.get("/runs").json()["items"] == []


TOO_LARGE = {
    "one header": get(b"/healthz", b"x: " + b"a" * MAX_HEAD_BYTES + b"\r\n"),
    "all headers": get(b"/healthz", *[b"x: " + b"a" * 2000 + b"\r\n"] * 40),
    "many headers": get(b"/healthz", *[b"x: a\r\n"] * MAX_HEADERS),
    "the query": get(b"/runs?limit=" + b"1" * MAX_ADDRESS_BYTES),
    "the path": get(b"/" + b"a" * MAX_ADDRESS_BYTES),
}


@pytest.mark.parametrize("sent", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_head_too_large_is_refused_also_when_it_comes_at_once(service: ServiceProcess, sent: bytes) -> None:
    document = refusal(service, sent)
    assert (document.status, document.code) == (413, "payload_too_large")


def test_as_many_headers_as_may_be_are_read(service: ServiceProcess) -> None:
    with connected(service) as connection:
        connection.sendall(get(b"/healthz", *[b"x: a\r\n"] * (MAX_HEADERS - 2), b"connection: close\r\n"))
        assert everything(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "localhost.evil.example", "[x]"]
)
def test_a_name_that_somebody_lets_stand_for_this_machine_is_refused(
    service: ServiceProcess, host: str
) -> None:
    for sent in (
        get(host=b"host: " + host.encode() + b"\r\n"),
        post(SIZE).replace(b"localhost", host.encode()),
    ):
        document = refusal(service, sent)
        assert (document.status, document.code) == (403, "forbidden")
        assert host in document.detail


def test_a_service_that_is_opened_by_name_takes_any_name(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with (
        service_process(tmp_path_factory.mktemp("open"), auth="off") as opened,
        httpx.Client(base_url=opened.url, headers={"host": "tamiyo.example"}) as http,
    ):
        assert http.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "a.localhost",
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:80",
        "10.0.0.7",
    ],
)
def test_an_address_and_localhost_are_local_names(host: str) -> None:
    assert is_local_name(host)


@pytest.mark.parametrize(
    "path", ["/page/../../etc/passwd", "/page/x/%2e%2e%2fservice.py", "/ui/../../x", "/runs/../x"]
)
def test_a_path_with_dots_leads_to_no_file(service: ServiceProcess, path: str) -> None:
    with connected(service) as connection:
        connection.sendall(get(path.encode(), b"connection: close\r\n"))
        answer = everything(connection)
    assert b"root:" not in answer
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 422")) or b"text/html" in answer


def test_a_decision_is_made_while_many_connections_say_nothing(service: ServiceProcess) -> None:
    with ExitStack() as held:
        for number in range(300):
            connection: socket.socket = held.enter_context(connected(service))
            connection.sendall(b"POST /runs/slow/epoch HTTP/1.1\r\nhost: localhost\r\n"[: number % 50])
        with httpx.Client(base_url=service.url) as http:
            assert http.post("/runs/quick/epoch", content=BODY).status_code == 200
            assert http.delete("/runs/quick").status_code == 204
