"""The synchronous transport: calls run in daemon threads, and the caller waits no longer than it said.

httpx's timeouts bound each wait for the socket, but neither the name lookup nor an answer that drips in
byte by byte; only somebody outside the call can. So the caller hands each request to a worker and waits for
it. When time is up it cuts the worker's connection, which ends all but a name lookup, and leaves the worker
behind: it is given no further work, and ends when its call does. What was not sent by then never is: a lookup
that ends late must not bring the service a request that the caller has given up. Being a daemon the worker
cannot keep the interpreter alive.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any, Final

import httpx

from tamiyo_client.errors import ClientClosedError, TamiyoError
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


class _Job:
    """A request on its way through a worker."""

    __slots__ = ("_under_way", "abandoned", "error", "is_done", "request", "response", "timeout_s")

    def __init__(self, send: Send) -> None:
        self.request: Final = send.request
        self.timeout_s: Final = send.timeout_s
        # A lock, held while the job is under way, wakes the waiter in half the time an Event takes.
        self._under_way: Final = threading.Lock()
        self._under_way.acquire()
        self.is_done = False
        self.abandoned = False
        self.response: Response | None = None
        self.error: TamiyoError | None = None

    def finish(self) -> None:
        """Wake who waits for it."""
        self.is_done = True
        self._under_way.release()

    def wait(self) -> None:
        """Wait until it is done or its time is up."""
        self._under_way.acquire(timeout=min(self.timeout_s, threading.TIMEOUT_MAX))


class _Worker:
    """A thread with a connection of its own."""

    def __init__(self, endpoint: Endpoint, options: Mapping[str, Any]) -> None:
        self._endpoint: Final = endpoint
        self._options: Final = options
        self._jobs: Final[SimpleQueue[_Job | None]] = SimpleQueue()
        self._stream: Any = None
        self.thread: Final = threading.Thread(target=self._work, name="tamiyo-client", daemon=True)
        self.thread.start()

    def take(self, job: _Job) -> None:
        """Begin a job."""
        self._jobs.put(job)

    def leave(self) -> None:
        """End when the work is done."""
        self._jobs.put(None)

    def abandon(self, job: _Job) -> None:
        """Cut a job short from outside, and end."""
        job.abandoned = True
        self.leave()
        self._cut()

    def _cut(self) -> None:
        sock = None if self._stream is None else self._stream.get_extra_info("socket")
        if isinstance(sock, socket.socket):
            # The plain socket's own shutdown, for TLS too: the worker may be in the middle of that.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _work(self) -> None:
        client: httpx.Client | None = None
        while (job := self._jobs.get()) is not None:
            try:
                client = client or httpx.Client(**self._options)
                job.response = self._perform(client, job)
            except Exception as error:  # noqa: BLE001 - handed to the waiting thread, whatever it is
                job.error = translated(error)
            job.finish()
            del job
        if client is not None:
            client.close()

    def _perform(self, client: httpx.Client, job: _Job) -> Response:
        def notice_connection(event: str, info: Mapping[str, Any]) -> None:
            if event.endswith(("connect_tcp.complete", "start_tls.complete")):
                self._stream = info["return_value"]
                if job.abandoned:  # before there was anything to cut
                    self._cut()

        request = outgoing(self._endpoint, job.request, job.timeout_s, notice_connection)
        if job.abandoned:
            raise too_late(job.timeout_s)
        response = client.send(request, stream=True)
        try:
            body = bytearray()
            for chunk in response.iter_raw():
                body += chunk
                require_small(len(body), job.request)
                if job.abandoned:
                    raise too_late(job.timeout_s)
            return incoming(response, bytes(body))
        finally:
            response.close()


class WorkerTransport:
    """Sends requests, each within its own time. Threads may share it; so may processes after a fork.

    A worker serves one request at a time; as many are kept as were ever needed at once. After a fork the
    child begins with none: it inherits neither threads nor the right to its parent's connections.

    Args:
        endpoint: where the service is.

    Raises:
        UsageError: if the environment names a proxy or certificates that cannot be used.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint: Final = endpoint
        self._options: Final = client_options(endpoint)
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._stuck: list[_Worker] = []
        # Workers of a transport that nobody refers to any more are sent home.
        weakref.finalize(self, _send_home, self._idle, self._pid).atexit = False

    def exchange(self, send: Send) -> Response:
        """Send the request and return the complete response.

        Raises:
            TamiyoError: if there is none in time; see `transport.translated`.
        """
        if self._pid != os.getpid():
            self._begin()
        if send.timeout_s <= 0.0:
            raise too_late(send.timeout_s)
        worker = self._worker()
        job = _Job(traced(send))
        worker.take(job)
        try:
            job.wait()
        finally:
            # Also when the wait is interrupted from the keyboard.
            finished = self._give_back(worker, job)
        if job.error is not None and finished:
            raise job.error
        if job.response is None or not finished:
            raise too_late(send.timeout_s)
        return job.response

    def close(self) -> None:
        """Send all workers home; calls under way end by themselves."""
        self._closed = True
        if self._pid == os.getpid():
            with self._lock:
                _send_home(self._idle, self._pid)

    def _worker(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise ClientClosedError("the client was closed")
            if self._idle:
                return self._idle.pop()
            self._stuck = [worker for worker in self._stuck if worker.thread.is_alive()]
            if len(self._stuck) >= MAX_STUCK:
                raise too_many_stuck()
        try:
            return _Worker(self._endpoint, self._options)
        except RuntimeError as error:  # the system has no thread left
            raise translated(error) from error

    def _give_back(self, worker: _Worker, job: _Job) -> bool:
        with self._lock:
            if not job.is_done:
                self._stuck.append(worker)
                worker.abandon(job)
                return False
            if self._closed:
                worker.leave()
            else:
                self._idle.append(worker)
            return True


def _send_home(workers: list[_Worker], pid: int) -> None:
    if pid == os.getpid():
        while workers:
            workers.pop().leave()
