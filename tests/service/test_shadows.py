"""Shadow policies: they decide behind the requests, once, from the state they had, whatever happens."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tamiyo_leyline import DecisionRecord, PolicyChoice
from tamiyo_service import Settings
from tamiyo_service.clock import to_micros
from tamiyo_service.errors import StoreUnavailableError
from tamiyo_service.learned.activation import Activations
from tamiyo_service.learned.comparing import Comparing
from tamiyo_service.learned.registry import Registry
from tamiyo_service.learned.shadows import PAGE, Shadows, Tally
from tamiyo_service.runs.engines import Engines
from tamiyo_service.settings import shadow_choices
from tamiyo_service.store import MemoryStore, Store
from tamiyo_service.store.memory_models import MemoryShadows
from tamiyo_service.store.rows import NewRun, Write
from tamiyo_service.store.shadows import ShadowRow, Share

from tests.service.artifacts import LEARNED, SHIPPED_POLICY, put_artifact
from tests.service.clocks import SteppingClock
from tests.service.conftest import Service, serving, sql_store
from tests.service.plugins import policy_installed
from tests.service.samples import PLATEAU_EPOCHS

IN_RANGE = {"train_loss": 1.0, "train_accuracy": 50.0}


@pytest.fixture(autouse=True)
def mine(tmp_path: Path) -> Iterator[None]:
    """A policy ``mine`` that only waits, and counts how often."""
    with policy_installed(tmp_path):
        yield


@pytest.fixture(params=["memory", "sqlite"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    """A service in which ``mine`` shadows every run."""
    store: Store = MemoryStore() if request.param == "memory" else sql_store(tmp_path)
    async with serving(store, shadow="mine") as running:
        yield running


def shadows_of(service: Service) -> Shadows:
    shadows = service.app.state.services.shadows
    assert isinstance(shadows, Shadows)
    return shadows


async def follow(service: Service) -> None:
    """Have shadow policies decide about everything that there is."""
    while await shadows_of(service).round():
        continue


class GuardedShadows(MemoryShadows):
    """Keeps followers away, or fails them, when a test says so."""

    resting = False
    broken = False

    async def take(self, holder: str, now: int, until: int) -> list[Share]:
        return [] if self.resting else await super().take(holder, now, until)

    async def put(self, holder: str, shares: Sequence[Share], rows: Sequence[ShadowRow]) -> int:
        if self.broken:
            raise StoreUnavailableError("the disk is full")
        return await super().put(holder, shares, rows)


class GuardedStore(MemoryStore):
    """A store with such shadows."""

    def __init__(self) -> None:
        super().__init__()
        self.guarded = GuardedShadows(self.journal, self._keyed, self._before)
        self.shadows = self._shadows = self.guarded


async def record(service: Service, run_id: str, epoch: int, **query: Any) -> DecisionRecord:
    response = await service.http.get(f"/runs/{run_id}/decisions/{epoch}", params=query)
    return DecisionRecord.model_validate_json(response.content)


async def counted(service: Service, run_id: str, *epochs: int, **query: Any) -> list[str]:
    """What the shadow ``mine`` said about some epochs."""
    records = [await record(service, run_id, epoch, **query) for epoch in epochs]
    return [shadow.commands[0].reason for one in records for shadow in one.shadow]


async def test_shadows_tell_what_they_would_have_done(service: Service) -> None:
    issued = await service.germination("run")
    await follow(service)
    last = await record(service, "run", issued["epoch"])
    (shadow,) = last.shadow
    assert (shadow.policy.name, shadow.policy.version, shadow.agrees) == ("mine", "1", False)
    assert (shadow.commands[0].command_type, last.commands[0].command_type) == ("REQUEST_STATE", "GERMINATE")
    assert [slot.action for slot in shadow.slots] == ["WAIT"]
    assert (await record(service, "run", 0)).shadow[0].agrees
    assert shadows_of(service).counts() == {("mine", "1"): Tally(issued["epoch"], 1, 0)}


async def test_shadows_remember_what_they_knew_across_rounds_and_restarts(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path), shadow="mine") as service:
        await service.reports("run", 0, 1)
        await follow(service)
        await service.reports("run", 2)
    async with serving(sql_store(tmp_path), shadow="mine") as service:
        await service.reports("run", 3)
        await follow(service)
        expected = [f"wait number {number}" for number in (1, 2, 3, 4)]
        assert await counted(service, "run", 0, 1, 2, 3) == expected


async def test_after_a_change_of_policy_the_new_one_shadows_no_more_and_the_old_one_does(
    tmp_path: Path,
) -> None:
    async with serving(sql_store(tmp_path), shadow="mine,heuristic") as service:
        await service.reports("run", 0, 1)
        for policy, epoch in (("mine", 2), ("heuristic", 3)):
            body = {"policy": {"name": policy}, "reason": "r"}
            assert (await service.http.post("/runs/run/policy", json=body)).status_code == 200
            await service.reports("run", epoch)
        await follow(service)
        records = [await record(service, "run", epoch) for epoch in range(4)]
    names = [(one.policy.name, [shadow.policy.name for shadow in one.shadow]) for one in records]
    assert names == [("heuristic", ["mine"])] * 2 + [("mine", ["heuristic"]), ("heuristic", ["mine"])]


async def test_a_shadow_goes_back_with_its_run(service: Service) -> None:
    await service.reports("run", 0, 1, 2, 3)
    await follow(service)
    for attempt, to_epoch in ((1, 1), (2, None)):
        request = {"to_epoch": to_epoch, "attempt": attempt}
        assert (await service.http.post("/runs/run/rewind", json=request)).is_success
        await service.http.put("/runs/run/hold", json={"reason": "r"})
        await service.http.delete("/runs/run/hold")
        await service.reports("run", 5, 6, attempt=attempt)
        await follow(service)
    assert await counted(service, "run", 5, 6, attempt=1) == ["wait number 3", "wait number 4"]
    assert await counted(service, "run", 5, 6, attempt=2) == ["wait number 1", "wait number 2"]


async def test_a_run_may_have_shadows_of_its_own(any_service: Service) -> None:
    for choice, run_id in (([{"name": "mine"}], "shadowed"), ([], "plain")):
        created = await any_service.http.put(f"/runs/{run_id}", json={"shadow": choice})
        assert created.status_code == 201
        assert [one["name"] for one in created.json()["config"]["shadow"]] == [c["name"] for c in choice]
        await any_service.reports(run_id, 0, 1)
    await follow(any_service)
    assert await counted(any_service, "shadowed", 0, 1) == ["wait number 1", "wait number 2"]
    assert await counted(any_service, "plain", 0, 1) == []


@pytest.mark.parametrize(
    ("choice", "code"),
    [
        ({"name": "oracle"}, "invalid_config"),
        ({"name": "mine", "version": "2"}, "invalid_config"),
        ({"name": "learned", "version": "mine-1"}, "no_artifact"),
    ],
)
async def test_a_shadow_that_cannot_be_had_is_refused(choice: dict[str, str], code: str) -> None:
    async with serving(MemoryStore()) as service:
        answer = await service.http.put("/runs/run", json={"shadow": [{"name": "heuristic"}, choice]})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert answer.json()["errors"][0]["field"] == "shadow.1"


async def test_a_policy_does_not_shadow_itself() -> None:
    async with serving(MemoryStore(), shadow="heuristic,heuristic@1") as service:
        await service.reports("run", 0)
        await follow(service)
        assert shadows_of(service).counts() == {}


async def test_the_network_shadows_the_heuristic() -> None:
    async with serving(MemoryStore(), shadow="learned") as service:
        await service.reports("run", *range(4), **IN_RANGE)
        await follow(service)
        (shadow,) = (await record(service, "run", 3)).shadow
        assert (shadow.policy.version, len(shadow.policy.sha256 or "")) == (SHIPPED_POLICY, 64)
        assert sum(shadows_of(service).counts()["learned", SHIPPED_POLICY]) == 4
        assert "the heuristic decided" not in shadow.commands[0].reason
        chances = shadow.slots[-1].probabilities
        assert chances is not None
        assert sum(chances.values()) == pytest.approx(1.0)


async def test_the_active_version_shadows_unless_one_is_named(tmp_path: Path) -> None:
    models = tmp_path / "models"
    put_artifact(models)
    both = f"learned,learned@{SHIPPED_POLICY}"
    async with serving(MemoryStore(), models=models, shadow=both) as service:
        await service.report("before", 0)
        await follow(service)
        activated = await service.http.post("/models/mine/1.1.0/activate", json={"reason": "r"})
        assert activated.status_code == 200
        await service.report("after", 0)
        await follow(service)
        versions = {
            run_id: [shadow.policy.version for shadow in (await record(service, run_id, 0)).shadow]
            for run_id in ("before", "after")
        }
    assert versions == {"before": [SHIPPED_POLICY], "after": [SHIPPED_POLICY, "mine-1.1.0"]}


async def test_processes_divide_the_work(tmp_path: Path) -> None:
    async with (
        serving(sql_store(tmp_path), shadow="mine") as one,
        serving(sql_store(tmp_path), shadow="mine") as two,
    ):
        for number in range(16):
            await one.reports(f"run-{number}", 0, 1)
        both = shadows_of(one), shadows_of(two)
        while any([await shadows.round() for shadows in both]):
            continue
        done = [sum(shadows.counts().get(("mine", "1"), ())) for shadows in both]
        assert (sum(done), min(done) > 0) == (32, True)
        for number in range(16):
            assert await counted(two, f"run-{number}", 0, 1) == ["wait number 1", "wait number 2"]


async def test_what_could_not_be_stored_is_decided_again() -> None:
    store = GuardedStore()
    async with serving(store, shadow="mine") as service:
        store.guarded.broken = True
        await service.reports("run", 0, 1)
        with pytest.raises(StoreUnavailableError):
            await follow(service)
        assert shadows_of(service).counts() == {}
        assert (await service.report("run", 2)).status_code == 200
        store.guarded.broken = False
        await follow(service)
        assert await counted(service, "run", 0, 1, 2) == [f"wait number {n}" for n in (1, 2, 3)]
        assert shadows_of(service).counts()["mine", "1"].agreed == 3


def follower(store: Store, catch_up: int) -> Shadows:
    """A follower by itself, with ``mine`` for every run."""
    registry, clock = Registry(None, "cpu"), SteppingClock()
    engines = Engines(registry)
    activations = Activations(store.models, registry, clock)
    comparing = Comparing(store, engines, activations, registry, clock, [PolicyChoice(name="mine")])
    return Shadows(store.shadows, comparing, clock, holder="by itself", always=True, catch_up=catch_up)


async def test_only_so_much_is_made_up_for_after_a_standstill() -> None:
    store = GuardedStore()
    store.guarded.resting = True
    async with serving(store, shadow="mine") as service:
        await service.reports("run", *range(6))
    store.guarded.resting = False
    while await follower(store, 2).round():
        continue
    async with serving(store) as service:
        assert await counted(service, "run", *range(6)) == ["wait number 1", "wait number 2"]
        assert await counted(service, "run", 4, 5) == ["wait number 1", "wait number 2"]


async def test_more_than_a_page_is_followed_to_its_end(service: Service) -> None:
    await service.reports("run", *range(2 * PAGE + 3))
    await follow(service)
    assert await counted(service, "run", 2 * PAGE + 2) == [f"wait number {2 * PAGE + 3}"]


async def test_a_run_that_cannot_be_read_stops_nobody(service: Service) -> None:
    await service.reports("run", 0, 1)
    store = service.store
    run = await store.run("run")
    damaged, _ = await store.create_run(NewRun("damaged", '{"topology": 1}', "1", "heuristic", 0))
    assert run is not None
    report = await store.report_up_to(run.run_pk, 0, 0)
    assert report is not None
    await store.append(Write((report._replace(run_pk=damaged.run_pk),)), lambda _error: None)
    await follow(service)
    assert await counted(service, "run", 0, 1) == ["wait number 1", "wait number 2"]


async def test_a_policy_that_fails_is_counted_and_leaves_the_others_to_decide(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path), shadow="mine,heuristic") as service:
        await service.http.put("/runs/run", json=LEARNED)
        await service.reports("run", 0, 1)
        await follow(service)
        damaged = "UPDATE shadow_decisions SET state = '\"nothing\"' WHERE policy = 'mine' AND epoch = 1"
        with closing(sqlite3.connect(tmp_path / "tamiyo.db", isolation_level=None)) as connection:
            connection.execute(damaged)
        await service.reports("run", 2)
        await follow(service)
        assert shadows_of(service).counts()["mine", "1"] == Tally(2, 0, 1)
        assert sum(shadows_of(service).counts()["heuristic", "1"]) == 3


async def test_a_version_that_is_not_there_leaves_the_others_to_decide() -> None:
    async with serving(MemoryStore(), shadow="learned@gone-1,mine,oracle") as service:
        await service.reports("run", 0, 1)
        await follow(service)
        assert set(shadows_of(service).counts()) == {("mine", "1")}


async def test_what_a_stopped_service_held_is_taken_up_at_once(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path), shadow="mine") as service:
        await service.reports("run", 0, 1, 2)
        # Without a further word, as when the stop comes in the middle of a round.
        now = to_micros(service.clock.now)
        held = await service.store.shadows.take(shadows_of(service).holder, now, now + 10**9)
        shadows_of(service).held.update(held)
    async with serving(sql_store(tmp_path), shadow="mine") as service:
        await follow(service)
        assert len(await counted(service, "run", 0, 1, 2)) == 3


async def test_shadows_of_a_held_run_wait_with_it() -> None:
    config = {"policy": {"name": "mine"}, "shadow": [{"name": "heuristic"}]}
    async with serving(MemoryStore()) as service:
        await service.http.put("/runs/run", json=config)
        await service.http.put("/runs/run/hold", json={"reason": "maintenance"})
        await service.reports("run", *range(PLATEAU_EPOCHS + 1))
        await follow(service)
        assert shadows_of(service).counts() == {("heuristic", "1"): Tally(PLATEAU_EPOCHS + 1, 0, 0)}
        (shadow,) = (await record(service, "run", PLATEAU_EPOCHS)).shadow
        assert "held by operator" in shadow.commands[0].reason


async def test_shadow_decisions_go_with_their_run(service: Service) -> None:
    await service.reports("run", 0)
    await follow(service)
    run = await service.store.run("run")
    assert run is not None
    assert len(await service.store.shadows.of_report(run.run_pk, 1)) == 1
    assert (await service.http.delete("/runs/run")).status_code == 204
    assert await service.store.shadows.of_report(run.run_pk, 1) == []


def test_the_setting_names_policies_and_versions() -> None:
    settings = Settings(shadow="learned, heuristic,learned@imitation-cnn-1.0.0")
    assert settings.shadow is not None
    assert shadow_choices(settings.shadow) == (
        PolicyChoice(name="learned"),
        PolicyChoice(name="heuristic"),
        PolicyChoice(name="learned", version="imitation-cnn-1.0.0"),
    )


@pytest.mark.parametrize("text", ["", "learned,,heuristic", "@1", "learned,learned"])
def test_a_malformed_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shadow"):
        Settings(shadow=text)


async def test_a_run_of_an_earlier_version_has_no_shadows(any_service: Service) -> None:
    created = (await any_service.http.put("/runs/run", json={"max_epochs": 7})).json()
    old = {name: value for name, value in created["config"].items() if name != "shadow"}
    await any_service.store.create_run(NewRun("old", json.dumps(old), "1", "heuristic", 0))
    again = await any_service.http.put("/runs/old", json={"max_epochs": 7})
    assert (again.status_code, again.json()["config"]) == (200, created["config"])
    assert (await any_service.report("old", 0)).status_code == 200
