"""Threads, forks, pickles and the end of the interpreter."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
import socket
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from tamiyo_client import AsyncTamiyoClient, DeadlineExceededError, TamiyoClient

from tests.client.conftest import Connect
from tests.client.stand_in import RETURN_S, StandIn, drip_headers, stay_silent


def python(program: str, *arguments: str) -> str:
    """Run a program in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_threads_share_a_client(service: StandIn) -> None:
    def train(name: str) -> set[str]:
        with client.run(name) as run:
            return {run.epoch(epoch=epoch, available_slots=1).source for epoch in range(5)}

    with TamiyoClient(service.url, deadline=20.0) as client, ThreadPoolExecutor(8) as pool:
        sources = set[str]().union(*pool.map(train, [f"r{number}" for number in range(8)]))
    assert sources == {"service"}
    assert all(len(run.reports) == 5 for run in service.runs.values())


def test_threads_that_share_a_run_take_turns(service: StandIn) -> None:
    with (
        TamiyoClient(service.url, deadline=20.0) as client,
        client.run("r") as run,
        ThreadPoolExecutor(4) as pool,
    ):
        decisions = list(pool.map(lambda _: run.epoch(epoch=1, available_slots=1), range(12)))
    assert {decision.source for decision in decisions} == {"service"}
    assert sum(not decision.replayed for decision in decisions) == 1


def test_one_thread_serves_a_training_and_leaves_with_the_client(service: StandIn) -> None:
    with TamiyoClient(service.url) as client, client.run("r") as run:
        for epoch in range(5):
            run.epoch(epoch=epoch, available_slots=1)
        (worker,) = workers()
    worker.join(10.0)
    assert not worker.is_alive()


def test_a_forgotten_client_sends_its_thread_home(service: StandIn) -> None:
    client = TamiyoClient(service.url)
    client.health()
    (worker,) = workers()
    del client
    gc.collect()
    worker.join(10.0)
    assert not worker.is_alive()


def test_a_forked_child_opens_connections_of_its_own(service: StandIn) -> None:
    fork = multiprocessing.get_context("fork")
    answers: multiprocessing.SimpleQueue[str] = fork.SimpleQueue()
    with TamiyoClient(service.url, deadline=20.0) as client, client.run("r") as run:
        run.epoch(epoch=0, available_slots=1)

        def child() -> None:
            own = client.run("child").start()
            answers.put(f"started: {own.is_started}, {own.epoch(epoch=0, available_slots=1).source}")

        process = fork.Process(target=child)
        process.start()
        process.join(30.0)
        assert process.exitcode == 0
        after = run.epoch(epoch=1, available_slots=1)
    assert answers.get() == "started: True, service"
    assert after.source == "service"
    assert set(service.runs) == {"r", "child"}


def test_a_forked_child_that_leaves_the_block_does_not_complete_the_run(service: StandIn) -> None:
    fork = multiprocessing.get_context("fork")
    with TamiyoClient(service.url, deadline=20.0) as client, client.run("r") as run:
        process = fork.Process(target=run.__exit__, args=(None, None, None))
        process.start()
        process.join(30.0)
        assert process.exitcode == 0
        assert service.runs["r"].result is None
    assert service.runs["r"].result == "succeeded"


@pytest.mark.parametrize("kind", [TamiyoClient, AsyncTamiyoClient])
def test_clients_and_runs_refuse_to_be_pickled_and_say_why(
    kind: type[TamiyoClient] | type[AsyncTamiyoClient], service: StandIn
) -> None:
    client = kind(service.url)
    for thing in (client, client.run("r")):
        with pytest.raises(TypeError, match="create it in the process that uses it"):
            pickle.dumps(thing)
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            copy.deepcopy(thing)


def test_the_interpreter_ends_although_a_call_hangs(service: StandIn) -> None:
    service.misbehave.extend([None, stay_silent])
    program = """
        import sys
        from tamiyo_client import TamiyoClient
        run = TamiyoClient(sys.argv[1], deadline=0.2).run("r").start()
        print(run.epoch(epoch=0, available_slots=1).source)
    """
    assert python(program, service.url) == "client\n"


def test_name_lookups_that_hang_neither_hold_the_trainer_nor_pile_up_nor_hold_the_exit() -> None:
    program = """
        import logging, socket, threading, time
        from tamiyo_client import TamiyoClient, TamiyoError
        # A name server that never answers, as far as this process can tell.
        socket.getaddrinfo = lambda *arguments, **options: threading.Event().wait()
        logging.disable()
        client = TamiyoClient("http://tamiyo.example", deadline=0.5)
        began = time.monotonic()
        errors = []
        for _ in range(12):
            try:
                client.health()
            except TamiyoError as error:
                errors.append(type(error).__name__)
        assert time.monotonic() - began < 20.0
        assert sum(thread.name == "tamiyo-client" for thread in threading.enumerate()) == 4
        # A call that never got as far as its lookup leaves nothing behind that hangs.
        hung = errors.index("ServiceUnreachableError")
        assert hung >= 4
        print(set(errors[:hung]), set(errors[hung:]))
    """
    assert python(program) == "{'DeadlineExceededError'} {'ServiceUnreachableError'}\n"


def test_an_abandoned_thread_ends(service: StandIn) -> None:
    with TamiyoClient(service.url, deadline=RETURN_S) as client, client.run("r") as run:
        (worker,) = workers()
        service.misbehave.append(drip_headers)
        decision = run.epoch(epoch=0, available_slots=1)
        assert decision.source == "client"
        worker.join(10.0)
        assert not worker.is_alive()


def test_a_call_given_up_during_its_name_lookup_never_reaches_the_service(
    service: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = threading.Event()
    look_up = socket.getaddrinfo

    def look_up_late(*arguments: Any, **options: Any) -> Any:
        found.wait(30.0)
        return look_up(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_late)
    with TamiyoClient(service.url, deadline=RETURN_S) as client:
        with pytest.raises(DeadlineExceededError):
            client.health()
        (worker,) = workers()
        found.set()
        worker.join(10.0)
        assert not worker.is_alive()
        assert service.seen == []
        client.health()
    assert len(service.seen) == 1


def test_an_address_that_swallows_everything_leaves_time_for_the_next(
    connect: Connect, service: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = urlsplit(service.url).port
    look_up = socket.getaddrinfo
    with socket.socket() as full, ExitStack() as waiting:
        # The kernel drops what a listener with a full queue is sent: nobody answers, nobody refuses.
        full.bind(("127.0.0.2", port or 0))
        full.listen(0)
        for _ in range(2):
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())

        def two_addresses(host: Any, *arguments: Any, **options: Any) -> Any:
            found = look_up("127.0.0.1", *arguments, **options)
            return look_up("127.0.0.2", *arguments, **options) + found if host == "localhost" else found

        monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
        assert connect(f"http://localhost:{port}", deadline=2.0).health().status == "ok"


def workers() -> list[threading.Thread]:
    return [
        thread for thread in threading.enumerate() if thread.name == "tamiyo-client" and thread.is_alive()
    ]
