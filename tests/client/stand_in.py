"""A small real service on a loopback socket: speaks the wire, remembers runs, misbehaves on demand."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from tamiyo_leyline import LEYLINE_VERSION, AdaptationCommand, ProblemCode
from tamiyo_leyline.problem import STATUS_OF

EPOCH_ZERO = "2024-01-01T00:00:00Z"

# The deadline of a test in which the service answers before or after a silence: long enough for that on a
# busy machine, short enough to sit out while the service is away.
RETURN_S = 0.6


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class StoredRun:
    """A run as the stand-in remembers it."""

    config: Any
    attempt: int = 0
    last_epoch: int | None = None
    result: str | None = None
    reports: dict[tuple[int, int], tuple[Any, bytes]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    client_decisions: dict[tuple[int, int], Any] = field(default_factory=dict)


class Exchange:
    """One request being served: what a misbehaviour has to work with."""

    def __init__(self, service: StandIn, handler: BaseHTTPRequestHandler, seen: Seen) -> None:
        self.service = service
        self.seen = seen
        self._handler = handler

    def proper_answer(self) -> Answer:
        return self.service.answer(self.seen)

    def send(self, answer: Answer) -> None:
        self._handler.send_response(answer.status)
        for name, value in answer.headers.items():
            self._handler.send_header(name, value)
        self._handler.send_header("Content-Length", str(len(answer.body)))
        self._handler.end_headers()
        self._handler.wfile.write(answer.body)

    def send_raw(self, data: bytes) -> None:
        self._handler.wfile.write(data)
        self._handler.wfile.flush()

    def hang_up(self) -> None:
        self._handler.close_connection = True
        self._handler.connection.shutdown(socket.SHUT_RDWR)


Misbehaviour: TypeAlias = Callable[[Exchange], None]


def lose_answer(exchange: Exchange) -> None:
    """Do what was asked, then hang up without a word."""
    exchange.proper_answer()
    exchange.hang_up()


def hang_up(exchange: Exchange) -> None:
    exchange.hang_up()


def stay_silent(exchange: Exchange) -> None:
    """Hold the connection open and say nothing, until the stand-in stops or the client leaves."""
    exchange.service.stopping.wait(30.0)
    exchange.hang_up()


def think(seconds: float) -> Misbehaviour:
    """Answer properly, but slowly."""

    def answer(exchange: Exchange) -> None:
        exchange.service.stopping.wait(seconds)
        exchange.send(exchange.proper_answer())

    return answer


def drip_body(exchange: Exchange) -> None:
    """Promise a long answer and send one byte every 20 ms: no socket timeout ever fires."""
    exchange.send_raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\ncontent-type: application/json\r\n\r\n")
    _drip(exchange, b" ")


def drip_headers(exchange: Exchange) -> None:
    """Never even get to the end of the headers."""
    exchange.send_raw(b"HTTP/1.1 200 OK\r\n")
    _drip(exchange, b"x-a: b\r\n")


def _drip(exchange: Exchange, piece: bytes) -> None:
    try:
        while not exchange.service.stopping.wait(0.02):
            exchange.send_raw(piece)
    except OSError:
        exchange.service.dripped_off.set()


def cut_short(exchange: Exchange) -> None:
    """Break off in the middle of the answer."""
    exchange.send_raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\ncontent-type: application/json\r\n\r\n{")
    exchange.hang_up()


def reply_with(
    status: int, body: bytes, content_type: str = "application/json", **headers: str
) -> Misbehaviour:
    fields = {"Content-Type": content_type} | {name.replace("_", "-"): v for name, v in headers.items()}
    return lambda exchange: exchange.send(Answer(status, body, fields))


def refuse(
    code: ProblemCode,
    retry_after: str | None = None,
    detail: str = "because",
    errors: Sequence[Mapping[str, str]] = (),
) -> Misbehaviour:
    extra = {} if retry_after is None else {"Retry-After": retry_after}
    return lambda exchange: exchange.send(_problem(code, detail, errors, **extra))


def speak(version: str) -> Misbehaviour:
    """Answer properly, but in another version of the wire."""

    def answer(exchange: Exchange) -> None:
        proper = exchange.proper_answer()
        exchange.send(Answer(proper.status, proper.body, {**proper.headers, "Tamiyo-Leyline": version}))

    return answer


def alter(**changes: Any) -> Misbehaviour:
    """Answer properly, but for these fields."""

    def answer(exchange: Exchange) -> None:
        proper = exchange.proper_answer()
        body = json.dumps(json.loads(proper.body) | changes).encode()
        exchange.send(Answer(proper.status, body, proper.headers))

    return answer


class StandIn:
    """The service. `misbehave` decides about the next requests, one entry each; then all is well again."""

    def __init__(self) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.seen: list[Seen] = []
        self.misbehave: deque[Misbehaviour | None] = deque()
        self.fails_at: Callable[[dict[str, Any]], bool] = lambda report: False
        self.fault_takes_s = 0.0
        self.in_between: Callable[[Seen], Misbehaviour | None] = lambda seen: None
        self.never_issued: set[str] = set()
        self.commands: Callable[[dict[str, Any]], list[AdaptationCommand]] = lambda report: []
        self.stopping = threading.Event()
        self.dripped_off = threading.Event()
        self._port = 0
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen; after a `stop`, on the same port."""
        self.stopping.clear()
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def stop(self) -> None:
        """Stop listening and hang up on everybody."""
        server, self._server = self._server, None
        self.stopping.set()
        if server is not None:
            server.shutdown()
            server.server_close()
            server.hang_up_all()

    def paths(self, method: str = "POST") -> list[str]:
        """What was asked for so far with this method, queries included."""
        return [seen.path for seen in self.seen if seen.method == method]

    def bodies(self, ending: str) -> list[Any]:
        """The bodies sent so far to paths that end like this (queries left out)."""
        return [seen.body for seen in self.seen if urlsplit(seen.path).path.endswith(ending)]

    def serve(self, exchange: Exchange) -> None:
        with self._lock:
            self.seen.append(exchange.seen)
            misbehaviour = self.misbehave.popleft() if self.misbehave else self.in_between(exchange.seen)
        if misbehaviour is None:
            exchange.send(exchange.proper_answer())
        else:
            misbehaviour(exchange)

    def answer(self, seen: Seen) -> Answer:
        if urlsplit(seen.path).path.endswith("/epoch") and self.fails_at(seen.body):
            self.stopping.wait(self.fault_takes_s)
            return _problem(ProblemCode.INTERNAL_ERROR, "the service failed")
        with self._lock:
            parts = urlsplit(seen.path).path.strip("/").split("/")
            if parts[-1] == "healthz":
                return _json({"status": "ok", "version": "9.9.9", "leyline": LEYLINE_VERSION})
            if parts[0] == "decisions" or len(parts) == 1:
                return _json({"items": [], "next_cursor": None})
            return self._about_run(parts[1], parts[2:], seen)

    def _about_run(self, run_id: str, rest: list[str], seen: Seen) -> Answer:
        if seen.method == "PUT":
            return self._put(run_id, seen.body)
        run = self.runs.get(run_id)
        if run is None:
            return _problem(ProblemCode.RUN_NOT_FOUND, f"there is no run {run_id}")
        if not rest:
            return self._look_or_delete(run_id, run, seen.method)
        if rest == ["epoch"]:
            return self._epoch(run_id, run, seen)
        if rest == ["rewind"]:
            return self._rewind(run_id, run, seen.body)
        if rest == ["complete"]:
            run.result = seen.body["result"]
            return _json(self._view(run_id, run))
        if rest == ["client-decisions"]:
            new = [d for d in seen.body if (d["attempt"], d["epoch"]) not in run.client_decisions]
            run.client_decisions |= {(d["attempt"], d["epoch"]): d for d in seen.body}
            return _json({"run_id": run_id, "recorded": len(new), "known": len(seen.body) - len(new)})
        run.outcomes[rest[1]] = seen.body["status"]
        return _json({"run_id": run_id, "command_id": rest[1], "status": seen.body["status"]})

    def _put(self, run_id: str, config: Any) -> Answer:
        run = self.runs.get(run_id)
        if run is not None and run.config != config:
            return _problem(ProblemCode.RUN_EXISTS, "it has another configuration")
        status = 200 if run else 201
        run = self.runs.setdefault(run_id, StoredRun(config))
        return _json(self._view(run_id, run), status)

    def _look_or_delete(self, run_id: str, run: StoredRun, method: str) -> Answer:
        if method == "DELETE":
            del self.runs[run_id]
            return Answer(204, b"")
        return _json(self._view(run_id, run))

    def _epoch(self, run_id: str, run: StoredRun, seen: Seen) -> Answer:
        report = seen.body
        key = (report["attempt"], report["epoch"])
        if key in run.reports:
            content, stored = run.reports[key]
            if content != report:
                return _problem(ProblemCode.EPOCH_CONFLICT, "reported before with other content")
            return Answer(200, stored, {**_HEADERS, "Tamiyo-Replayed": "true"})
        if run.result is not None:
            return _problem(ProblemCode.RUN_COMPLETED, "the run is over")
        if report["attempt"] != run.attempt:
            return _problem(ProblemCode.ATTEMPT_CONFLICT, f"the attempt is {run.attempt}")
        if run.last_epoch is not None and report["epoch"] <= run.last_epoch:
            return _problem(ProblemCode.STALE_EPOCH, f"the last epoch is {run.last_epoch}")
        for number, outcome in enumerate(report["outcomes"]):
            if outcome["command_id"] in self.never_issued:
                return _unknown_command(number, outcome["command_id"])
        observed_only = seen.query.get("backfill") == ["true"]
        reply = self._decided(run_id, report, observed_only)
        run.reports[key] = (report, reply.body)
        run.last_epoch = report["epoch"]
        return reply

    def _decided(self, run_id: str, report: dict[str, Any], observed_only: bool) -> Answer:
        commands = [] if observed_only else self.commands(report)
        decision_id = f"d.{run_id}.{report['attempt']}.{report['epoch']}"
        return _json(
            {
                "run_id": run_id,
                "attempt": report["attempt"],
                "epoch": report["epoch"],
                "decision_id": decision_id,
                "commands": [json.loads(command.model_dump_json()) for command in commands]
                or [_wait(decision_id, report["epoch"])],
                "policy": {"name": "stand-in", "version": "1"},
                "a_field_of_tomorrow": {"nested": True},
            }
        )

    def _rewind(self, run_id: str, run: StoredRun, request: Any) -> Answer:
        if request["attempt"] == run.attempt + 1:
            run.attempt, run.last_epoch, run.result = request["attempt"], request["to_epoch"], None
        if request["attempt"] != run.attempt:
            return _problem(ProblemCode.ATTEMPT_CONFLICT, f"the next attempt is {run.attempt + 1}")
        return _json({"run_id": run_id, "attempt": run.attempt, "resumed_epoch": request["to_epoch"]})

    def _view(self, run_id: str, run: StoredRun) -> dict[str, Any]:
        return {
            "run_id": run_id,
            "status": "COMPLETED" if run.result else "ACTIVE",
            "result": run.result,
            "attempt": run.attempt,
            "last_epoch": run.last_epoch,
            "created_at": EPOCH_ZERO,
            "updated_at": EPOCH_ZERO,
            "last_report_at": None,
            "config": {"a_setting_of_tomorrow": 1, **run.config},
            "rules_version": "1",
            "policy": {"name": "stand-in", "version": "1", "sha256": None},
            "counts": {},
            "seeds": [],
            "labels": {},
        }


_HEADERS = {"Content-Type": "application/json", "Tamiyo-Leyline": LEYLINE_VERSION}


def _json(body: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode(), _HEADERS)


def _unknown_command(number: int, command_id: str) -> Answer:
    """As the service refuses it: the first unknown one is named, the others are not looked at."""
    fault = {"field": f"outcomes.{number}.command_id", "message": f"no command {command_id}"}
    return _problem(ProblemCode.UNKNOWN_COMMAND, f"issued no command {command_id}", errors=[fault])


def _problem(
    code: ProblemCode, detail: str, errors: Sequence[Mapping[str, str]] = (), **headers: str
) -> Answer:
    status = STATUS_OF[code]
    body = {"title": code.value, "status": status, "detail": detail, "code": code.value, "errors": errors}
    fields = {**_HEADERS, "Content-Type": "application/problem+json", **headers}
    return Answer(status, json.dumps(body).encode(), fields)


def _wait(decision_id: str, epoch: int) -> dict[str, Any]:
    return {
        "command_id": f"{decision_id}.0",
        "issued_at": EPOCH_ZERO,
        "command_type": "REQUEST_STATE",
        "reason": "progressing",
        "confidence": 0.5,
        "risk_level": "GREEN",
        "expires_after_epoch": epoch + 1,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], service: StandIn) -> None:
        self.service = service
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request_thread(request, client_address)
        self._connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave in the middle are what these tests are about."""

    def hang_up_all(self) -> None:
        for connection in tuple(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    # Without this every answer after the first of a connection waits for the client's delayed ACK.
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        parts = urlsplit(self.path)
        seen = Seen(
            self.command,
            self.path,
            parse_qs(parts.query),
            {name.lower(): value for name, value in self.headers.items()},
            json.loads(body) if body else None,
        )
        service = self.server.service
        service.serve(Exchange(service, self, seen))

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the names http.server looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name http.server gives it
        """Quiet."""
