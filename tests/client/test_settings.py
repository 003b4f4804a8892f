"""Settings are checked when they are made, and secrets stay secret."""

from __future__ import annotations

import logging

import pytest
from tamiyo_client import AsyncTamiyoClient, TamiyoClient, UnauthorizedError, UsageError
from tamiyo_client.settings import NetworkSettings, endpoint
from tamiyo_client.transport import client_options
from tamiyo_leyline import ProblemCode

from tests.client.conftest import Connect
from tests.client.stand_in import RETURN_S, StandIn, refuse


@pytest.mark.parametrize(
    "url", ["", "tamiyo:8000", "ftp://tamiyo", "http://", "http://x:99999", "http://x?a=1", "http://[::1"]
)
@pytest.mark.parametrize("kind", [TamiyoClient, AsyncTamiyoClient])
def test_an_address_that_cannot_be_used_is_refused(
    kind: type[TamiyoClient] | type[AsyncTamiyoClient], url: str
) -> None:
    with pytest.raises(UsageError, match="base_url"):
        kind(url)


def test_credentials_in_the_address_are_refused_without_repeating_them() -> None:
    with pytest.raises(UsageError) as raised:
        TamiyoClient("http://me:hunter2@tamiyo")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_a_deadline_that_cannot_be_held_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match="deadline"):
        TamiyoClient("http://tamiyo", deadline=seconds)


@pytest.mark.parametrize("key", ["two\nlines", " padded", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(UsageError) as raised:
        TamiyoClient("http://tamiyo", headers={"x-key": key})
    assert key not in str(raised.value)


def test_the_key_is_in_no_repr_no_error_and_no_log(
    connect: Connect, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = connect(api_key="hunter2", headers={"x-other": "swordfish"}, deadline=RETURN_S)
    service.misbehave.append(refuse(ProblemCode.UNAUTHORIZED))
    with pytest.raises(UnauthorizedError) as raised:
        client.run("r").start()
    with client.run("r") as run:
        service.stop()
        decision = run.epoch(epoch=0, available_slots=1)
    told = [repr(client), repr(run), repr(raised.value), repr(decision), caplog.text]
    told.append(repr(endpoint("http://x", api_key="hunter2", headers={"x-other": "swordfish"})))
    assert not any(secret in text for secret in ("hunter2", "swordfish") for text in told)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_a_loopback_address_is_never_reached_through_a_proxy(host: str) -> None:
    assert client_options(endpoint(f"http://{host}:8000"))["trust_env"] is False


def test_other_addresses_are_reached_as_the_environment_says_unless_told_otherwise() -> None:
    assert client_options(endpoint("http://tamiyo:8000"))["trust_env"] is True
    direct = endpoint("http://tamiyo:8000", network=NetworkSettings(trust_env=False))
    assert client_options(direct)["trust_env"] is False


def test_certificates_are_checked_unless_told_otherwise() -> None:
    assert client_options(endpoint("https://127.0.0.1"))["verify"] is True


def test_a_path_in_the_address_is_kept_as_a_prefix(connect: Connect, service: StandIn) -> None:
    client = connect(f"{service.url}/decisions/")
    client.health()
    assert service.paths("GET") == ["/decisions/healthz"]
