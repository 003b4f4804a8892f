"""A wire between service and database that the tests can listen to and cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

APPEND = b"tamiyo_"
"""In what is sent when entries are appended: the beginning of the statement's name."""
COMMIT = b"COMMIT"


class Proxy:
    """Hands on what service and database say to each other.

    Attributes:
        port: where it listens.
        turns: how often the service spoke after the database had.
        lose: how many answers are still to be lost, each together with its connection.
        word: in the question to such an answer.
    """

    def __init__(self, database_port: int) -> None:
        self.port = 0
        self.turns = 0
        self.lose = 0
        self.word = APPEND
        self._database_port = database_port
        self._wires: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._wires.add(task)
        behind, to_database = await asyncio.open_connection("127.0.0.1", self._database_port)
        wire = _Wire(self, writer, to_database)
        await asyncio.gather(wire.questions(reader), wire.answers(behind))
        # The database may have cut the connection itself.
        await asyncio.gather(writer.wait_closed(), to_database.wait_closed(), return_exceptions=True)

    async def end(self) -> None:
        """Wait until every connection has been closed by those who opened it."""
        await asyncio.gather(*self._wires)


class _Wire:
    """One connection."""

    def __init__(
        self, proxy: Proxy, to_service: asyncio.StreamWriter, to_database: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._to_service = to_service
        self._to_database = to_database
        self._answered = True
        self._asked = b""

    async def questions(self, service: asyncio.StreamReader) -> None:
        """Hand on what the service says."""
        while data := await _heard(service):
            if self._answered:
                self._proxy.turns += 1
                self._answered, self._asked = False, b""
            self._asked += data
            self._to_database.write(data)
        self._to_database.close()

    async def answers(self, database: asyncio.StreamReader) -> None:
        """Hand on what the database says, or lose it."""
        while data := await _heard(database):
            self._answered = True
            if self._proxy.lose and self._proxy.word in self._asked:
                self._proxy.lose -= 1
                break
            self._to_service.write(data)
        self._to_service.close()


async def _heard(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1 << 20)
    except ConnectionError:
        return b""


@asynccontextmanager
async def wire_to(database_port: int) -> AsyncIterator[Proxy]:
    """A proxy before the database at this port."""
    proxy = Proxy(database_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield proxy
        finally:
            await proxy.end()
