"""nginx before replicas: a run stays with one of them, and nobody notices that another is away."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.docker.backends import Backend, backend
from tests.docker.balancer import CONFIGURATION, balanced, nginx_command

pytestmark = pytest.mark.docker

RUNS: Final = [f"run-{number}" for number in range(60)]


@pytest.fixture
def backends() -> Iterator[list[Backend]]:
    with backend("one") as one, backend("two") as two:
        yield [one, two]


@pytest.fixture
def http(backends: list[Backend], tmp_path: Path) -> Iterator[httpx.Client]:
    """Speaks to nginx before the backends."""
    ports = [each.server_address[1] for each in backends]
    with balanced(tmp_path, ports) as url, httpx.Client(base_url=url, timeout=30) as http:
        for each in backends:
            each.asked.clear()
        yield http


def test_the_configuration_is_one_that_nginx_takes(tmp_path: Path) -> None:
    tried = subprocess.run(
        [*nginx_command(tmp_path, CONFIGURATION), "-t"], capture_output=True, text=True, check=False
    )
    assert tried.returncode == 0, tried.stderr
    assert "warn" not in tried.stderr


def test_everything_about_a_run_goes_to_the_same_replica(http: httpx.Client) -> None:
    for run in ("run-1", "a.b:c", "x_y"):
        paths = ["", "/epoch", "/epoch?explain=true", "/decisions/3", "/rewind", "/commands/c/outcome"]
        asked = [http.request("POST", f"/runs/{run}{path}").text for path in paths]
        asked += [http.request(method, f"/runs/{run}/hold").text for method in ("PUT", "DELETE", "GET")]
        asked.append(http.get(f"/runs/{run}".replace(":", "%3A").replace("_", "%5F")).text)
        assert len(set(asked)) == 1


def test_the_path_arrives_as_it_was_sent(http: httpx.Client, backends: list[Backend]) -> None:
    for path in ("/runs/a%3Ab/epoch?create=true", "/runs/a%2Fb/hold", "/decisions?order=asc&cursor=x"):
        http.post(path)
        assert f"POST {path}" in backends[0].asked + backends[1].asked


def test_what_a_caller_says_of_itself_is_not_passed_on(http: httpx.Client, backends: list[Backend]) -> None:
    forged = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
    name = http.get("/runs/run-1", headers=forged).text
    (asked,) = (each for each in backends if each.name == name)
    assert asked.headers.get_all("x-forwarded-for") == ["127.0.0.1"]
    assert asked.headers.get_all("x-forwarded-proto") == ["http"]


def test_runs_are_shared_between_the_replicas(http: httpx.Client) -> None:
    shares = Counter(http.post(f"/runs/{run}/epoch").text for run in RUNS)
    assert min(shares["one"], shares["two"]) >= len(RUNS) // 5


def test_what_is_about_no_run_goes_round(http: httpx.Client) -> None:
    assert Counter(http.post("/epochs").text for _ in range(10)) == {"one": 5, "two": 5}
    assert {http.get("/decisions").text for _ in range(4)} == {"one", "two"}


@pytest.mark.parametrize("status", [0, 503])
def test_what_a_replica_does_not_answer_another_is_asked(
    http: httpx.Client, backends: list[Backend], status: int
) -> None:
    backends[0].status = status
    for run in RUNS[:20]:
        for method, path in (("POST", "/epoch"), ("PUT", ""), ("GET", "/decisions"), ("POST", "/rewind")):
            assert http.request(method, f"/runs/{run}{path}").text == "two"
    assert {http.post("/epochs").text for _ in range(4)} == {"two"}
    assert backends[0].asked


def test_a_replica_that_has_been_away_has_its_runs_back_at_once(
    http: httpx.Client, backends: list[Backend]
) -> None:
    before = [http.post(f"/runs/{run}/epoch").text for run in RUNS]
    for each in backends:
        each.status = 0
        other = {"one", "two"} - {each.name}
        assert {http.post(f"/runs/{run}/epoch").text for run in RUNS} == other
        each.status = 200
    assert [http.post(f"/runs/{run}/epoch").text for run in RUNS] == before


def test_a_deletion_is_sent_once(http: httpx.Client, backends: list[Backend]) -> None:
    for each in backends:
        each.status = 0
    for run in RUNS[:10]:
        assert http.delete(f"/runs/{run}").status_code == 502
    assert len(backends[0].asked + backends[1].asked) == 10


def test_a_deletion_that_a_replica_refuses_goes_to_another(
    http: httpx.Client, backends: list[Backend]
) -> None:
    backends[0].status = 503
    assert {http.delete(f"/runs/{run}").text for run in RUNS[:10]} == {"two"}


def test_what_all_replicas_refuse_comes_back_as_the_refusal_of_one(
    http: httpx.Client, backends: list[Backend]
) -> None:
    for each in backends:
        each.status = 503
    assert http.post("/runs/run/epoch").status_code == 503
    assert len(backends[0].asked + backends[1].asked) == 2
