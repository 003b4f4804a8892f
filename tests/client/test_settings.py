"""Settings are checked when they are made, and secrets stay secret."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from typing import Any, TypeAlias

import httpx
import pytest
from tamiyo_client import AsyncTamiyoClient, TamiyoClient, TamiyoError, UnauthorizedError, UsageError
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


def test_an_empty_key_is_told_of() -> None:
    with pytest.raises(UsageError, match="api_key must not be empty"):
        TamiyoClient("http://tamiyo", api_key="")


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


PROXY = "http://proxy.example:3128"


def options(url: str, **network: Any) -> dict[str, Any]:
    return client_options(endpoint(url, network=NetworkSettings(**network)))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def say(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return say


Environment: TypeAlias = Callable[..., None]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_a_loopback_address_is_never_reached_through_a_proxy(environment: Environment, host: str) -> None:
    environment(ALL_PROXY=PROXY)
    assert options(f"http://{host}:8000")["proxy"] is None


def test_other_addresses_are_reached_as_the_environment_says_unless_told_otherwise(
    environment: Environment,
) -> None:
    environment(HTTP_PROXY="proxy.example:3128", HTTPS_PROXY="http://secure.example")
    assert str(options("http://tamiyo:8000")["proxy"].url) == PROXY
    assert options("https://tamiyo:8000")["proxy"].url.host == "secure.example"
    assert options("http://tamiyo:8000", trust_env=False)["proxy"] is None


@pytest.mark.parametrize(
    ("exception", "host"),
    [
        ("tamiyo", "tamiyo"),
        ("example.org", "a.b.example.org"),
        (".example.org", "a.example.org"),
        ("tamiyo:8000", "tamiyo"),
        ("*", "anything"),
        ("other, 10.0.0.0/8", "10.20.30.40"),
        ("10.0.0.7", "10.0.0.7"),
        ("fd00::/8", "[fd00::17]"),
        ("[fd00::17]", "[fd00::17]"),
    ],
)
def test_what_no_proxy_names_is_reached_directly(environment: Environment, exception: str, host: str) -> None:
    environment(ALL_PROXY=PROXY, NO_PROXY=exception)
    assert options(f"http://{host}:8000")["proxy"] is None
    assert options("http://192.168.1.1:8000")["proxy"] is None or exception != "*"


@pytest.mark.parametrize(
    ("exception", "host"),
    [("10.0.0.0/8", "11.0.0.1"), ("nonsense/8,,", "10.0.0.1"), ("example.org", "xexample.org")],
)
def test_what_no_proxy_does_not_name_goes_through_the_proxy(
    environment: Environment, exception: str, host: str
) -> None:
    environment(ALL_PROXY=PROXY, NO_PROXY=exception)
    assert options(f"http://{host}:8000")["proxy"].url.host == "proxy.example"


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTPS_PROXY": "socks5://proxy.example:1080"},
        {"HTTPS_PROXY": "gopher://proxy.example"},
        {"HTTPS_PROXY": "http://[::1"},
        {"SSL_CERT_FILE": "/nonexistent/ca.pem"},
        {"SSL_CERT_FILE": __file__},
    ],
)
@pytest.mark.parametrize("kind", [TamiyoClient, AsyncTamiyoClient])
def test_an_environment_that_cannot_be_used_is_told_when_the_client_is_made(
    kind: type[TamiyoClient] | type[AsyncTamiyoClient], variables: dict[str, str], environment: Environment
) -> None:
    environment(**variables)
    with pytest.raises(UsageError, match=next(iter(variables))):
        kind("https://tamiyo.example")


def test_certificates_are_checked_unless_told_otherwise() -> None:
    verify = options("https://127.0.0.1")["verify"]
    assert isinstance(verify, ssl.SSLContext)
    assert verify.verify_mode is ssl.CERT_REQUIRED
    assert verify.check_hostname
    assert options("https://127.0.0.1", verify=False)["verify"] is False


def test_certificates_are_loaded_once_and_for_https_only(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment()
    loaded: list[ssl.SSLContext] = []
    load = httpx.create_ssl_context

    def count(**given: Any) -> ssl.SSLContext:
        loaded.append(load(**given))
        return loaded[-1]

    monkeypatch.setattr("httpx.create_ssl_context", count)
    with TamiyoClient("http://tamiyo.example", deadline=0.01) as client, pytest.raises(TamiyoError):
        client.health()
    assert not loaded
    with TamiyoClient("https://127.0.0.1:9", deadline=0.5) as client:
        for _ in range(3):
            with pytest.raises(TamiyoError):
                client.health()
    assert len(loaded) == 1


def test_a_path_in_the_address_is_kept_as_a_prefix(connect: Connect, service: StandIn) -> None:
    client = connect(f"{service.url}/decisions/")
    client.health()
    assert service.paths("GET") == ["/decisions/healthz"]
