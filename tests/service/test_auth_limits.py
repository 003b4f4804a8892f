"""Rate limits, by key and by run."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from pydantic import ValidationError
from tamiyo_client import ServiceBusyError, TamiyoClient
from tamiyo_service import Settings
from tamiyo_service.auth.caller import Scope
from tamiyo_service.auth.limits import Limiter, Rate, parse_rate
from tamiyo_service.errors import RateLimitedError
from tamiyo_service.store import MemoryStore
from tamiyo_service.testing import running_service

from tests.service.conftest import serving
from tests.service.keyholders import asking_for_keys, given_key
from tests.service.samples import report


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(limiter: Limiter, name: str, tries: int) -> int:
    """How many of so many requests are taken."""
    count = 0
    for _ in range(tries):
        try:
            limiter.take(name)
        except RateLimitedError:
            continue
        count += 1
    return count


def test_a_burst_is_taken_and_then_the_rate() -> None:
    time = Time()
    limiter = Limiter(Rate(2.0, 5), "a key", time)
    assert taken(limiter, "a", 50) == 5
    time.now += 1.0
    assert taken(limiter, "a", 50) == 2
    time.now += 1000.0
    assert taken(limiter, "a", 50) == 5


def test_names_do_not_share() -> None:
    limiter = Limiter(Rate(1.0, 1), "a key", Time())
    assert [taken(limiter, name, 3) for name in "abc"] == [1, 1, 1]


def test_the_refusal_tells_when_one_more_is_taken() -> None:
    time = Time()
    limiter = Limiter(Rate(0.5, 1), "a key", time)
    limiter.take("a")
    time.now += 0.5
    with pytest.raises(RateLimitedError) as refused:
        limiter.take("a")
    assert refused.value.seconds == pytest.approx(1.5)
    time.now += refused.value.seconds
    limiter.take("a")


def test_the_buckets_are_bounded() -> None:
    limiter = Limiter(Rate(0.001, 1), "a key", Time())
    for number in range(100_001):
        limiter.take(str(number))
    assert len(limiter._full_at) <= 100_000
    with pytest.raises(RateLimitedError):
        limiter.take("100000")


@pytest.mark.parametrize(
    ("text", "rate"),
    [("50", Rate(50.0, 500)), ("0.1", Rate(0.1, 1)), ("5/7", Rate(5.0, 7)), ("2.5", Rate(2.5, 25))],
)
def test_a_rate_is_written_as_requests_a_second_and_at_once(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "-1", "fast", "1/0", "1/", "/1", "1e3", "nan", "1/2/3"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Settings(rate_limit_key=text)


async def test_a_key_that_sends_too_much_is_told_when_to_come_back() -> None:
    async with asking_for_keys(MemoryStore(), rate_limit_key="0.01/2") as holders:
        one, other = await holders.holder(Scope.TRAINER), await holders.holder(Scope.TRAINER)
        assert [(await one.get("/runs")).status_code for _ in range(3)] == [200, 200, 429]
        refused = await one.post("/runs/run/epoch", json=report(1))
        assert refused.json()["code"] == "rate_limited"
        assert 90 <= int(refused.headers["retry-after"]) <= 100
        assert (await other.get("/runs")).status_code == 200
        assert await holders.store.run("run") is None
        assert "rate_limited" in holders.service.app.state.services.tally.refusals


async def test_a_run_about_which_too_much_is_sent_is_spared_and_no_other() -> None:
    async with serving(MemoryStore(), rate_limit_run="0.01/2") as service:
        statuses = [(await service.report("run", epoch)).status_code for epoch in range(3)]
        assert statuses == [200, 200, 429]
        assert (await service.http.get("/runs/run")).status_code == 429
        batch = [{"run_id": run_id, "report": report(5)} for run_id in ("run", "b", "b", "b")]
        results = (await service.http.post("/epochs", json={"reports": batch})).json()["results"]
        assert [result["status"] for result in results] == [429, 200, 200, 429]
        assert (await service.http.get("/runs")).status_code == 200


async def test_after_a_refused_report_a_batch_lets_no_later_one_of_its_run_in() -> None:
    # Its bucket fills again a hundred times while the batch is read.
    async with serving(MemoryStore(), rate_limit_run="2000/20") as service:
        batch = [{"run_id": "run", "report": report(epoch)} for epoch in range(1000)]
        results = (await service.http.post("/epochs", json={"reports": batch})).json()["results"]
        statuses = [result["status"] for result in results]
        taken = statuses.count(200)
        assert 20 <= taken < 1000
        assert statuses == [200] * taken + [429] * (1000 - taken)
        await asyncio.sleep(0.1)
        assert (await service.report("run", taken)).status_code == 200


async def test_signing_in_counts_as_what_its_key_sends() -> None:
    async with asking_for_keys(MemoryStore(), rate_limit_key="0.01/2") as holders:
        made = await given_key(holders.store, Scope.TRAINER, created=holders.service.clock())
        browser = holders.client(**{"tamiyo-page": "1"})
        signed = [(await browser.post("/session", json={"key": made.key})).status_code for _ in range(3)]
        assert signed == [201, 201, 429]


async def test_only_run_ids_are_counted_by_run() -> None:
    async with serving(MemoryStore(), rate_limit_run="0.01/1") as service:
        for _ in range(2):
            assert (await service.http.get(f"/runs/{'x' * 8_000}")).status_code == 422
            assert (await service.http.get("/runs/a%20b")).status_code == 422
        assert [(await service.http.get(f"/runs/{'x' * 128}")).status_code for _ in range(2)] == [404, 429]


async def test_strangers_cannot_use_up_what_a_run_may_be_sent() -> None:
    async with asking_for_keys(MemoryStore(), rate_limit_run="0.01/2") as holders:
        stranger = await holders.holder(Scope.TRAINER, "team-b.")
        for _ in range(5):
            assert (await stranger.post("/runs/team-a.run/epoch", json=report(1))).status_code == 404
        owner = await holders.holder(Scope.TRAINER, "team-a.")
        assert (await owner.post("/runs/team-a.run/epoch", json=report(1))).status_code == 200


def test_the_client_is_told_how_long_to_wait() -> None:
    with running_service(Settings(rate_limit_run="0.01/1"), store=MemoryStore()) as url:
        assert httpx.get(f"{url}/runs/run").status_code == 404
        with TamiyoClient(url, deadline=2.0) as client, pytest.raises(ServiceBusyError) as refused:
            client.get_run("run")
    assert refused.value.may_retry
    assert refused.value.retry_after_s >= 90
