"""Reports that their connection answers: nobody can tell them from those that the application answers."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
from tamiyo_service.auth.caller import Scope
from tamiyo_service.connections import BoundedConfig
from tamiyo_service.direct import DIRECT, Direct, DirectProtocol
from tamiyo_service.errors import OverloadedError
from tamiyo_service.runs.seat import Ticket
from tamiyo_service.store import MemoryStore
from tamiyo_service.store.protocol import Ended
from tamiyo_service.store.rows import Write
from uvicorn.server import ServerState

from tests.service.conftest import Service, serving
from tests.service.keyholders import asking_for_keys, given_key
from tests.service.samples import report
from tests.service.stores import FailingStore, SlowStore

GENEROUS = 20.0
"""Seconds after which nothing comes any more."""


class Answer(NamedTuple):
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Watched:
    """What takes reports directly, and how many it took and answered."""

    def __init__(self, direct: Direct) -> None:
        self._direct = direct
        self.taken = 0
        self.answered = 0
        self.defective = False

    def take(self, scope: Any, body: bytes) -> Ticket | None:
        if self.defective:
            raise RuntimeError("a bad day")
        ticket = self._direct.take(scope, body)
        self.taken += ticket is not None
        return ticket

    def answer(self, ticket: Ticket) -> tuple[bytes, bytes]:
        self.answered += 1
        return self._direct.answer(ticket)


class Line:
    """A connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> Answer:
        """The next answer."""
        async with asyncio.timeout(GENEROUS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
            body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(head[0].split()[1]), headers, body)

    async def send(self, *parts: bytes) -> None:
        """Send parts, each in a packet of its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0.02)

    async def ends(self) -> bool:
        """Whether the other side has closed."""
        async with asyncio.timeout(GENEROUS):
            return await self.reader.read() == b""


class Listening:
    """A service behind a socket."""

    def __init__(self, service: Service, watched: Watched, state: ServerState, port: int) -> None:
        self.service = service
        self.watched = watched
        self.state = state
        self._port = port
        self._lines: list[Line] = []

    async def line(self) -> Line:
        """A new connection."""
        line = Line(*await asyncio.open_connection("127.0.0.1", self._port))
        self._lines.append(line)
        return line

    def other_end(self, line: Line) -> DirectProtocol:
        """The server's end of a connection."""
        _, port = line.writer.get_extra_info("sockname")
        ends = [one for one in self.state.connections if isinstance(one, DirectProtocol)]
        return next(end for end in ends if end.client is not None and end.client[1] == port)

    async def close(self) -> None:
        """Close every connection."""
        for line in self._lines:
            line.writer.close()
            await line.writer.wait_closed()

    async def tell(self, request: bytes) -> Answer:
        """The answer to one request over a connection of its own."""
        line = await self.line()
        await line.send(request)
        return await line.answer()


@asynccontextmanager
async def listening(service: Service) -> AsyncIterator[Listening]:
    """A socket of this service, in the test's own event loop."""
    config = BoundedConfig(
        service.app,
        http=DirectProtocol,
        connections=50,
        head_seconds=GENEROUS,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
    )
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    watched = Watched(service.app.state.lifespan[DIRECT])

    protocol = partial(DirectProtocol, config=config, server_state=state, app_state={DIRECT: watched})
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    async with server:
        opened = Listening(service, watched, state, server.sockets[0].getsockname()[1])
        yield opened
        await opened.close()


@pytest.fixture
async def door() -> AsyncIterator[Listening]:
    async with serving(MemoryStore()) as service, listening(service) as opened:
        yield opened


def request(
    epoch: int, run_id: str = "run", query: str = "", headers: Sequence[str] = (), **fields: Any
) -> bytes:
    """A report as it travels."""
    body = json.dumps(report(epoch, **fields)).encode()
    lines = [
        f"POST /runs/{run_id}/epoch{query} HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_a_plain_report_is_answered_directly_and_like_any_other(door: Listening) -> None:
    first = await door.tell(request(0))
    assert (first.status, door.watched.taken) == (200, 0)  # no run, nothing to decide it with
    direct = await door.tell(request(1))
    assert (door.watched.taken, door.watched.answered) == (1, 1)
    line = await door.line()
    whole = request(2)
    await line.send(whole[:-5], whole[-5:])
    usual = await line.answer()
    assert door.watched.taken == 1
    assert direct.status == usual.status == 200
    assert direct.headers.keys() == usual.headers.keys()
    same = direct.headers.keys() - {"content-length"}
    assert {name: direct.headers[name] for name in same} == {name: usual.headers[name] for name in same}
    stored = await door.service.http.post("/runs/run/epoch", json=report(1))
    assert stored.headers["tamiyo-replayed"] == "true"
    assert stored.content == direct.body


async def test_what_is_not_plain_is_for_the_application(door: Listening) -> None:
    await door.tell(request(0))
    assert "signals" in (await door.tell(request(1, query="?explain=true"))).document
    assert (await door.tell(request(2, run_id="%72un"))).document["epoch"] == 2
    assert (await door.tell(request(3, headers=["content-encoding: gzip"]))).status == 415
    assert (await door.tell(request(3, headers=["sec-fetch-site: cross-site"]))).status == 403
    other = await door.tell(request(3, headers=["tamiyo-leyline: 9.0"]))
    assert other.document["code"] == "leyline_mismatch"
    assert (await door.tell(request(3).replace(b"POST", b"PUT", 1))).status == 405
    assert door.watched.taken == 0


async def test_what_the_seat_leaves_alone_is_told_by_the_application(door: Listening) -> None:
    await door.tell(request(0))
    broken = await door.tell(request(1, val_accuracy=900))
    assert (broken.status, broken.document["code"]) == (422, "invalid_report")
    assert broken.document["errors"][0]["field"] == "val_accuracy"
    again = await door.tell(request(0))
    assert (again.status, again.headers["tamiyo-replayed"]) == (200, "true")
    assert (await door.tell(request(0, val_accuracy=1.0))).document["code"] == "epoch_conflict"
    assert (door.watched.taken, door.watched.answered) == (3, 0)
    assert (await door.tell(request(1))).status == 200
    assert door.watched.answered == 1


async def test_two_in_one_packet_are_answered_in_their_order(door: Listening) -> None:
    await door.tell(request(0))
    line = await door.line()
    await line.send(request(1) + request(2) + request(3))
    assert [(await line.answer()).document["epoch"] for _ in range(3)] == [1, 2, 3]
    assert door.watched.answered == 3
    await line.send(request(4))
    assert (await line.answer()).document["epoch"] == 4


@pytest.mark.parametrize("old", [True, False], ids=["HTTP/1.0", "connection: close"])
async def test_who_wants_no_more_is_let_go(door: Listening, old: bool) -> None:
    await door.tell(request(0))
    line = await door.line()
    asked = request(1, headers=() if old else ["connection: close"])
    await line.send(asked.replace(b"HTTP/1.1", b"HTTP/1.0") if old else asked)
    answer = await line.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await line.ends()
    assert door.watched.answered == 1


async def test_who_left_has_reported_all_the_same() -> None:
    store = SlowStore()
    async with serving(store) as service, listening(service) as door:
        await door.tell(request(0))
        store.writes_open.clear()
        line = await door.line()
        await line.send(request(1))
        line.writer.close()
        await line.writer.wait_closed()
        await asyncio.sleep(0.02)
        store.writes_open.set()
        again = await door.tell(request(1))
        assert (again.status, again.headers["tamiyo-replayed"]) == (200, "true")
        assert door.watched.answered == 1  # in the measure of time alone


async def test_a_store_that_is_full_is_told() -> None:
    class Full(MemoryStore):
        full = False

        def append(
            self, write: Write, ended: Ended, waiter: asyncio.Future[None] | None = None
        ) -> asyncio.Future[None]:
            if self.full:
                raise OverloadedError("no room")
            return super().append(write, ended, waiter)

    store = Full()
    async with serving(store) as service, listening(service) as door:
        await door.tell(request(0))
        store.full = True
        refused = await door.tell(request(1))
        assert (refused.status, refused.document["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        store.full = False
        assert (await door.tell(request(1))).status == 200


async def test_a_write_that_fails_is_told() -> None:
    store = FailingStore()
    async with serving(store) as service, listening(service) as door:
        await door.tell(request(0))
        store.broken = True
        refused = await door.tell(request(1))
        assert (refused.status, refused.document["code"]) == (503, "store_unavailable")
        store.broken = False
        assert (await door.tell(request(1))).status == 200


async def stopped_under_way(door: Listening, store: SlowStore) -> Line:
    """A connection whose server stops while its report waits for the store."""
    store.writes_open.clear()
    line = await door.line()
    await line.send(request(1))
    door.other_end(line).shutdown()
    await asyncio.sleep(0.02)
    return line


async def test_a_server_that_stops_answers_what_is_under_way() -> None:
    store = SlowStore()
    async with serving(store) as service, listening(service) as door:
        await door.tell(request(0))
        line = await stopped_under_way(door, store)
        assert len(door.state.tasks) == 1
        store.writes_open.set()
        answer = await line.answer()
        assert (answer.status, answer.headers["connection"], answer.document["epoch"]) == (200, "close", 1)
        assert await line.ends()


async def test_a_request_that_meets_a_server_on_its_way_out_is_answered(door: Listening) -> None:
    used, unused = await door.line(), await door.line()
    await used.send(request(0))
    await used.answer()
    await unused.send(b"")
    for end in map(door.other_end, (used, unused)):
        end.shutdown()
    # Nothing awaited in between: both are there before the server looks at its clock again.
    used.writer.write(request(1))
    unused.writer.write(request(0, run_id="other"))
    for line in (used, unused):
        answer = await line.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await line.ends()


async def test_idle_connections_end_with_their_server(door: Listening) -> None:
    line = await door.line()
    await line.send(request(0))
    await line.answer()
    door.other_end(line).shutdown()
    assert await line.ends()


async def test_time_that_is_up_is_told_in_words() -> None:
    store = SlowStore()
    async with serving(store) as service, listening(service) as door:
        await door.tell(request(0))
        line = await stopped_under_way(door, store)
        service.app.state.services.gate.close()
        for task in door.state.tasks:
            task.cancel()
        answer = await line.answer()
        store.writes_open.set()
        assert (answer.status, answer.document["code"]) == (503, "shutting_down")


async def test_a_key_opens_its_own_runs_alone() -> None:
    async with asking_for_keys(MemoryStore()) as holders, listening(holders.service) as door:
        mine = await given_key(holders.store, Scope.TRAINER, "mine-", created=holders.service.clock())
        shown = [f"authorization: Bearer {mine.key}"]
        assert (await door.tell(request(0, "mine-1", headers=shown))).status == 200
        assert (await door.tell(request(1, "mine-1", headers=shown))).status == 200
        assert door.watched.answered == 1
        assert (await door.tell(request(2, "mine-1"))).status == 401
        stranger = ["authorization: Bearer tamiyo_nobody"]
        assert (await door.tell(request(2, "mine-1", headers=stranger))).status == 401
        other = await given_key(holders.store, Scope.TRAINER, "other-", created=holders.service.clock())
        assert (
            await door.tell(request(2, "mine-1", headers=[f"authorization: Bearer {other.key}"]))
        ).status == 404
        again = await door.tell(request(2, "mine-1", headers=[f"authorization: Bearer {other.key}"]))
        assert (again.status, again.document["code"]) == (404, "run_not_found")
        assert door.watched.taken == 1


async def test_a_request_counts_once_against_a_limit() -> None:
    async with serving(MemoryStore(), rate_limit_run="0.001/4") as service, listening(service) as door:
        answers = [await door.tell(request(epoch)) for epoch in range(6)]
        assert [answer.status for answer in answers] == [200] * 4 + [429] * 2
        assert door.watched.answered == 3
        text = (await service.http.get("/metrics")).text
        (counted,) = re.findall(r'tamiyo_refusals_total\{code="rate_limited"\} (\S+)', text)
        assert float(counted) == 2


async def test_every_answer_is_timed_once(door: Listening) -> None:
    await door.tell(request(0))
    await door.tell(request(1))
    await door.tell(request(0))
    text = (await door.service.http.get("/metrics")).text
    counts = re.findall(r"tamiyo_report_seconds_count(?:\{[^}]*\})? (\S+)", text)
    assert [float(count) for count in counts] == [3]


async def test_one_in_the_wake_of_another_may_come_in_pieces(door: Listening) -> None:
    await door.tell(request(0))
    line = await door.line()
    second = request(2)
    await line.send(request(1) + second[:-10])
    assert (await line.answer()).document["epoch"] == 1
    await line.send(second[-10:])
    assert (await line.answer()).document["epoch"] == 2


async def test_one_in_the_wake_of_another_may_wait_to_be_asked_for_its_body(door: Listening) -> None:
    await door.tell(request(0))
    line = await door.line()
    head, body = request(2, headers=["expect: 100-continue"]).split(b"\r\n\r\n")
    await line.send(request(1) + head + b"\r\n\r\n")
    assert (await line.answer()).document["epoch"] == 1
    async with asyncio.timeout(GENEROUS):
        assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await line.send(body)
    assert (await line.answer()).document["epoch"] == 2


async def test_cookies_are_for_the_application_which_knows_what_stands_before_it() -> None:
    async with asking_for_keys(MemoryStore()) as holders, listening(holders.service) as door:
        key = await given_key(holders.store, Scope.TRAINER, created=holders.service.clock())
        shown = f"authorization: Bearer {key.key}"
        await door.tell(request(0, headers=[shown]))
        assert (await door.tell(request(1, headers=["cookie: tamiyo=x", "tamiyo-page: 1"]))).status == 401
        assert (await door.tell(request(1, headers=[shown, "cookie: a=b"]))).status == 200
        assert door.watched.taken == 0


async def test_who_does_not_read_is_not_written_to_without_end(door: Listening) -> None:
    await door.tell(request(0))
    line = await door.line()
    await line.send(request(1))
    await line.answer()
    other_end = door.other_end(line)
    other_end.pause_writing()
    await line.send(request(2))
    assert door.watched.taken == 1
    other_end.resume_writing()
    assert (await line.answer()).document["epoch"] == 2


@pytest.mark.parametrize("leaves_early", [False, True])
async def test_a_connection_leaves_nothing_behind(leaves_early: bool) -> None:
    store = SlowStore()
    async with serving(store) as service, listening(service) as door:
        await door.tell(request(0))
        store.writes_open.clear()
        line = await door.line()
        await line.send(request(1, val_loss=1.5))
        end = weakref.ref(door.other_end(line))
        if not leaves_early:
            store.writes_open.set()
            await line.answer()
            alive = end()
            assert alive is not None
            assert not alive.cycle.body
            del alive
        line.writer.close()
        await line.writer.wait_closed()
        await asyncio.sleep(0.02)
        gc.disable()
        try:
            store.writes_open.set()
            await door.tell(request(0))
            await asyncio.sleep(0.02)
            assert end() is None
        finally:
            gc.enable()
        assert door.watched.answered == 1


async def test_a_defect_is_for_the_application(door: Listening) -> None:
    await door.tell(request(0))
    door.watched.defective = True
    assert (await door.tell(request(1))).status == 200


async def test_a_run_that_nobody_creates_is_looked_for_once() -> None:
    store = SlowStore()
    async with serving(store, auto_create=False) as service, listening(service) as door:
        assert (await door.tell(request(0))).document["code"] == "run_not_found"
        assert store.looks == 1
