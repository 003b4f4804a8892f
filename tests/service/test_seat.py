"""Reports that are decided together: each keeps its own fate."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tamiyo_core import Advice, AskingPolicy
from tamiyo_service.errors import OverloadedError
from tamiyo_service.runs.advising import Questions
from tamiyo_service.runs.seat import TOGETHER
from tamiyo_service.store import MemoryStore
from tamiyo_service.store.protocol import Ended
from tamiyo_service.store.rows import Write

from tests.service.artifacts import put_artifact
from tests.service.conftest import Service, serving
from tests.service.samples import report

GENEROUS = 30.0
"""Seconds after which nothing comes any more."""
_MOODY = """\
from tamiyo_core import Decision


class MoodyPolicy:
    name = "moody"
    version = "1"

    def __init__(self, config):
        pass

    def initial(self):
        return None

    def decide(self, state, signals, context):
        if signals.metrics.val_loss == 13.0:
            raise RuntimeError("a bad day")
        return None, (Decision(context.layout.wait, "a good day", 1.0),)

    def snapshot(self, state):
        return None

    def restore(self, data):
        return None
"""


@pytest.fixture
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed policy that fails now and then."""
    info = tmp_path / "tamiyo_test_moody-1.dist-info"
    info.mkdir()
    (tmp_path / "tamiyo_test_moody.py").write_text(_MOODY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tamiyo_test_moody\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[tamiyo.policies]\nmoody = tamiyo_test_moody:MoodyPolicy\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tamiyo_test_moody", raising=False)


async def together(service: Service, *bodies: tuple[str, Any]) -> list[Any]:
    """Reports of several runs that arrive in the same turn of the loop; their answers."""
    return await asyncio.gather(
        *(service.http.post(f"/runs/{run_id}/epoch", json=body) for run_id, body in bodies)
    )


async def test_a_broken_body_concerns_its_sender_alone(service: Service) -> None:
    runs = [f"run-{number}" for number in range(5)]
    await together(service, *((run_id, report(1)) for run_id in runs))
    answers = await together(
        service, *((run_id, report(2, val_accuracy=150.0 if run_id == "run-3" else 50.0)) for run_id in runs)
    )
    assert [answer.status_code for answer in answers] == [200, 200, 200, 422, 200]
    assert answers[3].json()["errors"][0]["field"] == "val_accuracy"


@pytest.mark.usefixtures("moody")
async def test_a_policy_that_fails_fails_its_own_run_alone(service: Service) -> None:
    for number in range(6):
        policy = "moody" if number % 2 else "heuristic"
        await service.http.put(f"/runs/run-{number}", json={"policy": {"name": policy}})
    answers = await together(
        service, *((f"run-{number}", report(1, val_loss=13.0 if number < 2 else 1.0)) for number in range(6))
    )
    assert [answer.status_code for answer in answers] == [200, 500, 200, 200, 200, 200]
    (mended,) = await together(service, ("run-1", report(1)))
    assert mended.status_code == 200, "the report can be decided again"


async def test_repeats_conflicts_and_new_reports_come_together(service: Service) -> None:
    runs = ["new", "repeated", "contradicted", "stale", "completed", "rewound"]
    await together(service, *((run_id, report(5)) for run_id in runs))
    await service.http.post("/runs/completed/complete", json={"result": "succeeded"})
    answers = await together(
        service,
        ("new", report(6)),
        ("repeated", report(5)),
        ("contradicted", report(5, val_accuracy=1.0)),
        ("stale", report(4)),
        ("completed", report(6)),
        ("rewound", report(6, attempt=1)),
        ("unknown", report(0)),
    )
    assert [answer.status_code for answer in answers] == [200, 200, 409, 409, 409, 409, 200]
    assert answers[1].headers["tamiyo-replayed"] == "true"
    codes = [answer.json()["code"] for answer in answers[2:6]]
    assert codes == ["epoch_conflict", "stale_epoch", "run_completed", "attempt_conflict"]


async def test_more_than_fit_in_one_round_are_all_answered(service: Service) -> None:
    count = 3 * TOGETHER + 1
    for epoch in range(3):
        answers = await together(service, *((f"run-{n}", report(epoch)) for n in range(count)))
        assert {answer.status_code for answer in answers} == {200}
    page = await service.get("/decisions?limit=1000")
    assert len(page["items"]) == 3 * count


async def test_reports_of_one_run_in_the_same_turn_are_decided_in_order(service: Service) -> None:
    await together(service, ("run", report(0)))
    answers = await together(service, *(("run", report(epoch)) for epoch in range(1, 6)))
    assert [answer.json()["epoch"] for answer in answers] == [1, 2, 3, 4, 5]
    assert (await service.get("/runs/run"))["last_epoch"] == 5


class _FullStore(MemoryStore):
    """Takes no write while it is full."""

    full = False

    def append(
        self, write: Write, ended: Ended, waiter: asyncio.Future[None] | None = None
    ) -> asyncio.Future[None]:
        if self.full:
            raise OverloadedError("nothing fits any more")
        return super().append(write, ended, waiter)


async def test_a_store_that_takes_no_more_leaves_every_run_as_it_was() -> None:
    store = _FullStore()
    async with serving(store) as service:
        await together(service, ("a", report(0)), ("b", report(0)))
        store.full = True
        refused = await together(service, ("a", report(1)), ("b", report(1)))
        assert [answer.status_code for answer in refused] == [503, 503]
        assert all("retry-after" in answer.headers for answer in refused)
        store.full = False
        answers = await together(service, ("a", report(1)), ("b", report(1)))
        assert [answer.status_code for answer in answers] == [200, 200]


class _Mute:
    """An advisor with a defect, at once or later."""

    def __init__(self, *, later: bool) -> None:
        self._later = later

    def at_once(self, policy: AskingPolicy, asked: Sequence[Questions]) -> list[Advice] | None:
        if self._later:
            return None
        raise TypeError("an advisor with a defect")

    async def advise(self, policy: AskingPolicy, asked: Sequence[Questions]) -> list[Advice]:
        raise TypeError("an advisor with a defect")


@pytest.mark.parametrize("later", [False, True])
async def test_a_defect_of_an_advisor_leaves_nobody_waiting(service: Service, later: bool) -> None:
    for run_id, policy in (("learned", "learned"), ("heuristic", "heuristic")):
        created = await service.http.put(f"/runs/{run_id}", json={"policy": {"name": policy}})
        assert created.status_code == 201
    # Reaching inside: no advisor that the service builds has a defect.
    intake = service.app.state.services.intake
    intake._seat._advisor = _Mute(later=later)
    answers = await together(service, ("learned", report(1)), ("heuristic", report(1)))
    assert [answer.status_code for answer in answers] == [200, 200], "the long way has an advisor without one"


class _Partly:
    """Has advice at once for one network; that of the others has to be waited for."""

    def __init__(self, ready: str) -> None:
        self._ready = ready
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self.open = asyncio.Event()

    def at_once(self, policy: AskingPolicy, asked: Sequence[Questions]) -> list[Advice] | None:
        return ["at once"] * len(asked) if policy.version == self._ready else None

    async def advise(self, policy: AskingPolicy, asked: Sequence[Questions]) -> list[Advice]:
        self.asked.put_nowait(policy.version)
        await self.open.wait()
        return ["later"] * len(asked)


async def test_who_waits_for_a_network_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    versions = ["1.1.0", "1.2.0", "1.3.0"]
    for version in versions:
        put_artifact(tmp_path, version)
    async with serving(MemoryStore(), models=tmp_path) as service:
        for version in versions:
            pinned = {"policy": {"name": "learned", "version": f"mine-{version}"}}
            assert (await service.http.put(f"/runs/{version}", json=pinned)).status_code == 201
            await service.reports(version, 1)
        # Reaching inside: no network that the service has waits for a test.
        advisor = service.app.state.services.intake._seat._advisor = _Partly("mine-1.2.0")
        first, ready, last = [asyncio.ensure_future(service.report(version, 2)) for version in versions]
        assert "at once" in (await asyncio.wait_for(ready, GENEROUS)).json()["commands"][0]["reason"]
        assert {await advisor.asked.get() for _ in "12"} == {"mine-1.1.0", "mine-1.3.0"}, "both are asked"
        assert not first.done()
        advisor.open.set()
        for answer in (await first, await last):
            assert "later" in answer.json()["commands"][0]["reason"]
