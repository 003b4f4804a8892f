"""A real server: killed, stopped, exposed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tamiyo_leyline import DecisionReply
from tamiyo_service import Settings
from tamiyo_service.serve import CertificateError, serve
from tamiyo_service.testing import running_service

from tests.service.conftest import serving, sql_store
from tests.service.processes import free_port, service_process
from tests.service.samples import report

TRAINERS = 8


def varied(epoch: int) -> dict[str, Any]:
    """A report whose decisions depend on all that came before."""
    return report(epoch, val_accuracy=50.0 + (epoch * 7 % 5), train_loss=1.0 / (epoch + 1))


async def train(url: str, run_id: str, replies: dict[int, DecisionReply], enough: threading.Event) -> None:
    """Report epoch after epoch until the service is gone; what was acknowledged goes into `replies`."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        while True:
            epoch = len(replies)
            try:
                response = await http.post(f"/runs/{run_id}/epoch", json=varied(epoch))
            except httpx.TransportError:
                return
            if response.status_code == 503:
                return
            assert response.status_code == 200, response.text
            replies[epoch] = DecisionReply.model_validate_json(response.content)
            if epoch >= 15:
                enough.set()


def trained(url: str, enough: threading.Event) -> dict[str, dict[int, DecisionReply]]:
    """What many trainers at once were told until the service went away."""
    told: dict[str, dict[int, DecisionReply]] = {f"run-{n}": {} for n in range(TRAINERS)}

    async def all_of_them() -> None:
        await asyncio.gather(*(train(url, run_id, replies, enough) for run_id, replies in told.items()))

    asyncio.run(all_of_them())
    return told


def essence(reply: DecisionReply) -> list[tuple[str, str, str | None]]:
    """What a reply says, apart from when."""
    return [(c.command_type.value, c.reason, c.blueprint_id) for c in reply.commands]


def stored(http: httpx.Client, run_id: str) -> dict[int, dict[str, Any]]:
    """The decisions the service has of a run."""
    items = http.get(f"/runs/{run_id}/decisions?limit=1000").json()["items"]
    assert len({item["epoch"] for item in items}) == len(items)
    return {item["epoch"]: item for item in items}


async def uninterrupted(folder: Path, run_id: str, epochs: int) -> list[list[tuple[str, str, str | None]]]:
    """What a run is told that nothing ever interrupts."""
    folder.mkdir()
    async with serving(sql_store(folder)) as service:
        answers = [
            await service.http.post(f"/runs/{run_id}/epoch", json=varied(epoch)) for epoch in range(epochs)
        ]
    return [essence(DecisionReply.model_validate_json(answer.content)) for answer in answers]


def test_a_killed_service_has_every_acknowledged_decision_and_goes_on_as_if_nothing_had_been(
    tmp_path: Path, database_url: str
) -> None:
    port, enough = free_port(), threading.Event()
    with service_process(tmp_path, port, database_url=database_url) as service:

        def kill() -> None:
            enough.wait()
            service.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        told = trained(service.url, enough)
        killer.join()
    with (
        service_process(tmp_path, port, database_url=database_url) as service,
        httpx.Client(base_url=service.url) as http,
    ):
        for run_id, replies in told.items():
            kept = stored(http, run_id)
            assert set(replies) <= set(kept)
            assert set(kept) <= set(range(len(replies) + 1)), "at most the one in flight is unacknowledged"
            for epoch, reply in replies.items():
                again = http.post(f"/runs/{run_id}/epoch", json=varied(epoch))
                assert DecisionReply.model_validate_json(again.content) == reply
                assert again.headers["tamiyo-replayed"] == "true"
        run_id, replies = max(told.items(), key=lambda item: len(item[1]))
        for epoch in range(len(replies), len(replies) + 10):
            answer = http.post(f"/runs/{run_id}/epoch", json=varied(epoch))
            replies[epoch] = DecisionReply.model_validate_json(answer.content)
        assert service.stop() == 0
    expected = asyncio.run(uninterrupted(tmp_path / "straight", run_id, len(replies)))
    assert [essence(replies[epoch]) for epoch in sorted(replies)] == expected


def test_a_stopped_service_finishes_what_it_accepted_and_ends_in_time(tmp_path: Path) -> None:
    enough, took = threading.Event(), []
    with service_process(tmp_path) as service:

        def stop() -> None:
            enough.wait()
            began = time.monotonic()
            assert service.stop() == 0
            took.append(time.monotonic() - began)

        stopper = threading.Thread(target=stop)
        stopper.start()
        told = trained(service.url, enough)
        stopper.join()
    assert took[0] < 10
    assert [path.name for path in tmp_path.iterdir()] == ["tamiyo.db"]
    with service_process(tmp_path) as service, httpx.Client(base_url=service.url) as http:
        for run_id, replies in told.items():
            assert set(stored(http, run_id)) == set(replies)


def test_a_request_under_way_is_answered_when_the_service_stops(tmp_path: Path) -> None:
    begun = threading.Event()
    with service_process(tmp_path) as service:

        def slow_body() -> Any:
            yield b'{"epoch": 1, '
            begun.set()
            # The rest comes only once the service has been told to stop.
            stopping.wait()
            yield b'"available_slots": 1}'

        stopping = threading.Event()

        def stop() -> None:
            begun.wait()
            service.process.terminate()
            stopping.set()

        stopper = threading.Thread(target=stop)
        stopper.start()
        answer = httpx.post(f"{service.url}/runs/run/epoch", content=slow_body(), timeout=30)
        stopper.join()
        assert service.process.wait(30) == 0
    assert answer.status_code in (200, 503)
    assert answer.status_code == 200 or answer.json()["code"] == "shutting_down"


def test_a_body_of_ten_megabytes_is_refused_by_a_real_server(tmp_path: Path) -> None:
    with service_process(tmp_path) as service:
        answer = httpx.post(f"{service.url}/runs/run/epoch", content=b"x" * 10_000_000)
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
        assert httpx.get(f"{service.url}/readyz").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "tamiyo.example.org", ""])
def test_listening_beyond_loopback_asks_for_keys(host: str) -> None:
    assert Settings(host=host).keys_required
    assert not Settings(host=host, auth="off").keys_required


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_listening_on_loopback_asks_for_none_unless_told_to(host: str) -> None:
    assert not Settings(host=host).keys_required
    assert Settings(host=host, auth="required").keys_required


def test_a_service_beyond_loopback_refuses_who_has_no_key(tmp_path: Path) -> None:
    with service_process(tmp_path, host="0.0.0.0") as service:
        answer = httpx.get(f"{service.url}/runs")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert httpx.get(f"{service.url}/readyz").status_code == 200


def test_a_certificate_that_is_none_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    with pytest.raises(CertificateError, match=r"cert\.pem"):
        serve(Settings(tls_certfile=tmp_path / "cert.pem"))
    assert [file.name for file in tmp_path.iterdir()] == ["cert.pem"]


def test_an_encrypted_key_is_refused_instead_of_asking_the_terminal(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-passout",
        "pass:secret",
        "-subj",
        "/CN=tamiyo",
    ]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    with pytest.raises(CertificateError, match="encrypted"):
        serve(Settings(tls_certfile=certificate, tls_keyfile=key))


@contextmanager
def inherited(meaning: signal.Handlers) -> Iterator[None]:
    """What SIGHUP means to new processes, whether these tests run under nohup or not."""
    before = signal.signal(signal.SIGHUP, meaning)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_service_of_one_process_ends_well_on_sighup(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with inherited(signal.SIG_DFL), service_process(tmp_path) as service:
        service.process.send_signal(signal.SIGHUP)
        assert service.process.wait(30.0) == 0
    assert '"event": "hangup"' in capfd.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_service_under_nohup_stays_on_sighup(tmp_path: Path) -> None:
    with inherited(signal.SIG_IGN), service_process(tmp_path) as service:
        service.process.send_signal(signal.SIGHUP)
        assert httpx.get(f"{service.url}/readyz").status_code == 200
        assert service.stop() == 0


def test_an_in_process_service_answers_over_a_socket_and_forgets() -> None:
    for _ in range(2):
        with running_service() as url:
            answer = httpx.post(f"{url}/runs/run/epoch", json=report(1))
            assert answer.status_code == 200
            assert "tamiyo-replayed" not in answer.headers
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz")


def test_an_in_process_service_that_cannot_start_says_so(tmp_path: Path) -> None:
    store = sql_store(tmp_path / "missing")
    with pytest.raises(RuntimeError, match="did not start"), running_service(store=store):
        raise AssertionError("it started")


def test_a_serving_process_collects_its_garbage_however_it_was_started(tmp_path: Path) -> None:
    program = """
        import asyncio, gc, sys
        gc.disable()
        from tamiyo_service.process import served_app
        from tamiyo_service.settings import Settings

        async def start() -> None:
            app = served_app(Settings(database_url=sys.argv[1]))
            async with app.router.lifespan_context(app):
                print(gc.isenabled(), gc.get_freeze_count() > 100_000)

        asyncio.run(start())
    """
    command = [sys.executable, "-c", textwrap.dedent(program), f"sqlite:///{tmp_path / 'tamiyo.db'}"]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    assert told.stdout == "True True\n"
