"""What every command says of a service that does not answer, or refuses."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from tamiyo_cli.app import app
from typer.testing import CliRunner

from tests.cli.pretenders import Quiet, serving

COMMANDS: Final = (
    ("runs",),
    ("show", "r"),
    ("decisions", "r"),
    ("why", "r"),
    ("why", "r", "1"),
    ("follow",),
    ("export",),
    ("replay", "r"),
    ("field-reports", "r"),
    ("hold", "r", "--reason", "x"),
    ("release", "r"),
    ("override", "r", "WAIT", "--reason", "x"),
    ("policy", "r", "heuristic", "--reason", "x"),
    ("note", "r"),
    ("label", "r"),
)
ABSENT: Final = "http://127.0.0.1:9"
every_command: Final = pytest.mark.parametrize("command", COMMANDS, ids=" ".join)


def refusal(*arguments: str, key: str | None = None, proxy: str | None = None) -> str:
    """What a command says that ends with status 1 and one line."""
    environment = {"COLUMNS": "200", "TAMIYO_API_KEY": key, "HTTP_PROXY": proxy}
    result = CliRunner().invoke(app, list(arguments), env=environment)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


@contextmanager
def answering(status: int, body: str = "") -> Iterator[str]:
    """The URL of a service that answers everything alike."""

    class Handler(Quiet):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

    for method in ("GET", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    with serving(Handler) as url:
        yield url


@contextmanager
def hanging_up() -> Iterator[str]:
    """The URL of something that takes one call and hangs up."""

    def take() -> None:
        connection, _ = listener.accept()
        connection.recv(1)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=take)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@every_command
def test_where_nothing_listens_address_reason_and_remedy_are_told(command: tuple[str, ...]) -> None:
    assert refusal(*command, "--url", ABSENT) == (
        f"tamiyo {command[0]}: {ABSENT} does not answer: nothing listens there; "
        "name a service with --url or TAMIYO_URL, or start one with `tamiyo serve`"
    )


@every_command
def test_what_is_no_address_is_told_with_an_example(command: tuple[str, ...]) -> None:
    assert refusal(*command, "--url", "foo") == (
        f"tamiyo {command[0]}: 'foo' is no address of a service; "
        "--url or TAMIYO_URL names one, such as http://127.0.0.1:8000"
    )


@pytest.mark.parametrize(
    "url", ["ftp://host", "http://", "http://host:99999", "http://host?x=1", "http:/[::"]
)
def test_addresses_that_cannot_be_asked_are_none(url: str) -> None:
    assert "is no address of a service" in refusal("runs", "--url", url)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    told = refusal("runs", "--url", "http://ada:secret@127.0.0.1:9")
    assert "TAMIYO_API_KEY" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:secret@db/tamiyo", "'postgresql://***'"),
        ("postgresql://ada:sec/re?t@db/tamiyo", "'postgresql://***'"),
        ("postgresql://db/tamiyo?user=ada&password=sec@ret", "'postgresql://***'"),
        ("postgresql://db/tamiyo?user=ada&password=secret", "'postgresql://db/tamiyo?***'"),
        ("ada:secret@db", "'***'"),
        ("http://ada:secret@db:port", "'http://***'"),
    ],
)
def test_what_is_no_address_is_told_without_its_password(url: str, shown: str) -> None:
    told = refusal("runs", "--url", url)
    assert f"{shown} is no address of a service" in told
    assert "sec" not in told
    assert "ret" not in told


def test_an_unknown_host_is_told() -> None:
    told = refusal("runs", "--url", "http://no-such-host.invalid:8000")
    assert (
        "http://no-such-host.invalid:8000 does not answer: the name no-such-host.invalid is not known" in told
    )


def test_tls_where_there_is_none_is_told() -> None:
    with answering(200) as url:
        told = refusal("runs", "--url", url.replace("http:", "https:"))
    assert "speaks no TLS" in told
    assert "http://" in told


def test_a_connection_that_breaks_off_is_told() -> None:
    with hanging_up() as url:
        told = refusal("runs", "--url", url)
    assert f"{url} does not answer: the connection broke off" in told
    assert "https://" in told


def test_a_service_on_this_machine_is_asked_without_a_proxy() -> None:
    with answering(200, '{"items": [], "next_cursor": null}') as url:
        result = CliRunner().invoke(app, ["runs", "--url", url], env={"HTTP_PROXY": ABSENT})
    assert (result.exit_code, result.output) == (0, "no runs yet\n")


def test_a_proxy_is_asked_for_other_machines() -> None:
    with answering(502) as proxy:
        told = refusal("runs", "--url", "http://tamiyo.invalid", proxy=proxy)
    assert "http://tamiyo.invalid/runs?limit=51 answers 502; is that a Tamiyo service?" in told


def test_networks_in_no_proxy_are_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    # The address of any machine, which is this one where nobody else listens, and no loopback address.
    with answering(502) as proxy, answering(200, '{"items": [], "next_cursor": null}') as url:
        anywhere = url.replace("127.0.0.1", "0.0.0.0")  # called, not listened on
        monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
        assert "answers 502" in refusal("runs", "--url", anywhere, proxy=proxy)
        monkeypatch.setenv("NO_PROXY", "10.0.0.0/8, 0.0.0.0/8")
        result = CliRunner().invoke(app, ["runs", "--url", anywhere], env={"HTTP_PROXY": proxy})
    assert (result.exit_code, result.output) == (0, "no runs yet\n")


@pytest.mark.parametrize("proxy", ["socks5://tamiyo.invalid:1", "ftp://tamiyo.invalid", "http://[::1"])
def test_a_proxy_that_cannot_be_used_is_told_of_in_a_line(proxy: str) -> None:
    told = refusal("runs", "--url", "http://tamiyo.invalid", proxy=proxy)
    assert "no connection can be set up as the environment says" in told
    assert "look at HTTP_PROXY" in told


@every_command
def test_who_has_no_key_is_told_how_to_give_one(command: tuple[str, ...]) -> None:
    detail = "this takes a key; send Authorization: Bearer KEY"
    with answering(401, json.dumps({"code": "unauthorized", "detail": detail})) as url:
        told = refusal(*command, "--url", url)
    assert told == (
        f"tamiyo {command[0]}: this takes a key; "
        "export TAMIYO_API_KEY=KEY, with a key that `tamiyo keys create` made"
    )


def test_a_key_that_lacks_the_scope_is_told_which_it_takes() -> None:
    detail = "this takes a key of scope operator"
    with answering(403, json.dumps({"code": "forbidden", "detail": detail})) as url:
        assert refusal("hold", "r", "--reason", "x", "--url", url) == f"tamiyo hold: {detail}"


@pytest.mark.parametrize("command", [one for one in COMMANDS if "r" in one], ids=" ".join)
def test_who_mistyped_a_run_is_told_where_to_look(told: str, command: tuple[str, ...]) -> None:
    asked = ["nope" if word == "r" else word for word in command]
    line = refusal(*asked, "--url", told)
    assert line == f"tamiyo {command[0]}: there is no run nope; `tamiyo runs` lists them"
