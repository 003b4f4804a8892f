"""What Prometheus gets: well formed, documented, and moved by what happens."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from tamiyo_service.api import readiness
from tamiyo_service.api.services import Services
from tamiyo_service.errors import StoreUnavailableError
from tamiyo_service.observability import families, silence
from tamiyo_service.observability.families import Family
from tamiyo_service.store import MemoryStore
from tamiyo_service.store.rows import Found, RunFilter, RunRow

from tests.service.conftest import Service, serving, sql_store
from tests.service.samples import report

DOCS = Path(__file__).parents[2] / "docs"
FAMILIES = [family for family in vars(families).values() if isinstance(family, Family)]
ID_LIKE = {"run", "run_id", "seed", "seed_id", "command_id", "decision_id"}


async def scrape(service: Service) -> str:
    response = await service.http.get("/metrics")
    assert response.status_code == 200
    return response.text


async def samples(service: Service) -> list[Sample]:
    parsed = text_string_to_metric_families(await scrape(service))
    return [sample for family in parsed for sample in family.samples]


async def value(service: Service, name: str, **labels: str) -> float:
    """The sum of the samples of that name that have these labels."""
    found = await samples(service)
    return sum(
        sample.value for sample in found if sample.name == name and labels.items() <= sample.labels.items()
    )


def services(service: Service) -> Services:
    found: Services = service.app.state.services
    return found


async def test_the_exposition_is_well_formed(service: Service) -> None:
    await service.germination("r")
    for family in text_string_to_metric_families(await scrape(service)):
        assert family.type in {"counter", "gauge", "histogram"}, family.name
        assert family.documentation, family.name
    found = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in await samples(service)]
    assert len(found) == len(set(found))


async def test_openmetrics_is_spoken_where_it_is_accepted(service: Service) -> None:
    response = await service.http.get(
        "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert "tamiyo_decisions" in {family.name for family in parse_openmetrics(response.text)}  # type: ignore[no-untyped-call]  # published without types


async def test_no_label_grows_with_the_runs(service: Service) -> None:
    await service.germination("r")
    before = {(sample.name, *sample.labels) for sample in await samples(service)}
    for number in range(5):
        await service.reports(f"another-{number}", 0, 1)
    found = await samples(service)
    assert {(sample.name, *sample.labels) for sample in found} == before
    assert not ID_LIKE & {label for sample in found for label in sample.labels}


async def test_every_metric_is_documented_as_it_is(service: Service) -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", (DOCS / "metrics.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    told = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    families_there = list(text_string_to_metric_families(await scrape(service)))
    there = {f"{f.name}_total" if f.type == "counter" else f.name: f.type for f in families_there}
    assert {name: kind for name, (kind, _) in told.items()} == there
    labels = {family.name: family.labels for family in FAMILIES}
    assert {name: told[name][1] for name in labels} == labels


async def test_every_family_is_exposed(service: Service) -> None:
    text = await scrape(service)
    assert [family.name for family in FAMILIES if f"# HELP {family.name} " not in text] == []


async def test_decisions_are_counted_by_action_policy_and_risk(any_service: Service) -> None:
    service = any_service
    reply = await service.germination("r")
    epoch = reply["epoch"]
    assert await value(service, "tamiyo_decisions_total", action="WAIT", risk="GREEN") == epoch
    assert (
        await value(service, "tamiyo_decisions_total", action="GERMINATE", policy="heuristic", risk="YELLOW")
        == 1
    )
    assert await value(service, "tamiyo_germinations_total", blueprint="norm") == 1
    assert await value(service, "tamiyo_inputs_total", kind="report") == epoch + 1


async def test_blueprints_of_a_run_of_its_own_are_one_series(service: Service) -> None:
    for name in ("first", "second"):
        topology = {"name": name, "blueprints": [{"name": f"{name}_blueprint", "parameters": 1}]}
        assert (await service.http.put(f"/runs/{name}", json={"topology": topology})).status_code == 201
        await service.germination(name)
    assert await value(service, "tamiyo_germinations_total", blueprint="other") == 2
    assert await value(service, "tamiyo_germinations_total") == 2


async def test_what_is_no_report_is_no_decision(service: Service) -> None:
    await service.reports("r", 0)
    await service.http.put("/runs/r/hold", json={"reason": "look"})
    assert await value(service, "tamiyo_inputs_total", kind="hold") == 1
    assert await value(service, "tamiyo_decisions_total") == 1


async def test_replies_told_again_are_counted_and_decide_nothing(service: Service) -> None:
    await service.reports("r", 0, 1)
    await service.reports("r", 1, 0)
    assert await value(service, "tamiyo_replayed_replies_total") == 2
    assert await value(service, "tamiyo_decisions_total") == 2
    assert await value(service, "tamiyo_report_seconds_count") == 4


async def test_refusals_are_counted_by_code_wherever_they_come_from(service: Service) -> None:
    await service.http.get("/runs/nobody")
    await service.http.get("/nothing")
    await service.report("r", -1)
    await service.http.post("/runs/r/epoch", content=b"{}", headers={"content-type": "text/plain"})
    batch = [{"run_id": "r", "report": report(0)}, {"run_id": "r", "report": {"epoch": -1}}]
    assert (await service.http.post("/epochs", json={"reports": batch})).status_code == 200
    for code, count in {
        "run_not_found": 1,
        "not_found": 1,
        "unsupported_media_type": 1,
        "invalid_report": 2,
    }.items():
        assert await value(service, "tamiyo_refusals_total", code=code) == count, code
    assert await value(service, "tamiyo_refusals_total") == 5


async def test_phases_and_groups_are_timed(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path)) as service:
        for epoch in range(3):
            await asyncio.gather(*(service.report(f"r-{n}", epoch) for n in range(4)))
        count = "tamiyo_decision_phase_seconds_count"
        assert await value(service, count, phase="turn") >= 12
        assert await value(service, count, phase="deciding") >= 12
        assert await value(service, count, phase="network") == 0
        assert await value(service, count, phase="storing") == 12
        assert await value(service, "tamiyo_decision_phase_seconds_sum", phase="storing") > 0
        # Every report and every creation of a run was written in some group.
        assert await value(service, "tamiyo_write_group_size_sum") == 16
        groups = await value(service, "tamiyo_write_group_size_count")
        assert await value(service, "tamiyo_write_seconds_count") == groups
        assert await value(service, "tamiyo_write_queue_rows") == 0


async def test_buckets_add_up(service: Service) -> None:
    await service.reports("r", *range(5))
    found = [s for s in await samples(service) if s.name == "tamiyo_report_seconds_bucket"]
    numbers = [sample.value for sample in found]
    assert numbers == sorted(numbers)
    assert found[-1].labels["le"] == "+Inf"
    assert found[-1].value == 5


async def test_the_cache_tells_hits_loads_and_evictions() -> None:
    async with serving(MemoryStore(), cached_runs=1) as service:
        await service.reports("a", 0, 1)
        await service.reports("b", 0)
        await service.reports("a", 2)
        assert await value(service, "tamiyo_cached_runs") == 1
        assert await value(service, "tamiyo_cache_loads_total") == 1
        assert await value(service, "tamiyo_cache_evictions_total") == 2
        assert await value(service, "tamiyo_cache_hits_total") == 3


async def test_errors_of_the_store_are_counted(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path, patience=0.1)) as service:
        await service.reports("r", 0)
        assert await value(service, "tamiyo_ready") == 1
        path = tmp_path / "tamiyo.db"
        other = sqlite3.connect(path)
        other.execute("BEGIN EXCLUSIVE")
        try:
            assert (await service.report("r", 1)).status_code == 503
            # Whether it is ready is found out by trying once more.
            assert await value(service, "tamiyo_store_errors_total", operation="write") == 2
            assert await value(service, "tamiyo_ready") == 0
        finally:
            other.rollback()
            other.close()


async def test_learned_runs_tell_of_passes_entropy_and_fallbacks() -> None:
    async with serving(MemoryStore(), default_policy="learned", device="cpu") as service:
        config: dict[str, Any] = {"policy": {"name": "learned"}}
        await service.http.put("/runs/r", json=config)
        for epoch in range(6):
            await service.report("r", epoch)
        labels = {"policy": "learned", "version": "imitation-cnn-1.0.0"}
        passes = await value(service, "tamiyo_forward_pass_seconds_count")
        assert passes > 0
        assert await value(service, "tamiyo_forward_pass_rows_sum") >= passes
        assert await value(service, "tamiyo_decision_phase_seconds_count", phase="network") >= passes
        assert 0 <= await value(service, "tamiyo_policy_entropy_nats", **labels) < 2
        assert await value(service, "tamiyo_fallbacks_total", **labels) == 0


async def test_silent_runs_are_told_by_how_long(service: Service) -> None:
    await service.reports("dead", 0)
    service.clock.now = service.clock.now.replace(year=service.clock.now.year + 1)
    await service.reports("young", 0)
    assert await value(service, "tamiyo_silent_runs", at_least="15m") == 1
    assert await value(service, "tamiyo_silent_runs", at_least="1d") == 1


class AskedStore(MemoryStore):
    """Notes how often it is asked for runs; answers when, and if, a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.answers = asyncio.Event()
        self.away = False

    async def runs(self, wanted: RunFilter, limit: int) -> Found[RunRow]:
        self.asked += 1
        await self.answers.wait()
        if self.away:
            raise StoreUnavailableError("away")
        return await super().runs(wanted, limit)


class HangingStore(AskedStore):
    """Does not even say whether it is ready."""

    async def check(self) -> None:
        await asyncio.Event().wait()


async def test_a_store_that_hangs_is_not_asked_for_silent_runs() -> None:
    store = HangingStore()
    async with serving(store, stall_seconds=0.01) as service:
        assert await value(service, "tamiyo_ready") == 0
    assert store.asked == 0


async def test_a_scrape_waits_for_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_BRIEFLY_SECONDS", 0.01)
    async with serving(HangingStore(), stall_seconds=3600.0) as service:
        # Nothing is known of it yet but that it was opened.
        assert await value(service, "tamiyo_ready") == 1


async def test_a_slow_look_for_silent_runs_is_told_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "_WAIT_SECONDS", 0.01)
    store = AskedStore()
    async with serving(store) as service:
        await service.reports("dead", 0)
        service.clock.now = service.clock.now.replace(year=service.clock.now.year + 1)
        for _ in range(3):
            assert "tamiyo_silent_runs{" not in await scrape(service)
        assert store.asked == 1
        store.answers.set()
        while "tamiyo_silent_runs{" not in await scrape(service):
            await asyncio.sleep(0)
        assert await value(service, "tamiyo_silent_runs", at_least="15m") == 1


async def test_a_look_that_failed_is_not_repeated_at_every_scrape() -> None:
    store = AskedStore()
    store.away = True
    store.answers.set()
    async with serving(store) as service:
        for _ in range(3):
            assert await value(service, "tamiyo_ready") == 1
    assert store.asked == 1


async def test_streams_are_counted(service: Service) -> None:
    live = services(service).live
    live.take_seat()
    live.tally.sent += 3
    assert await value(service, "tamiyo_live_streams") == 1
    assert await value(service, "tamiyo_live_events_sent_total") == 3


async def test_sweeps_are_counted(service: Service) -> None:
    await services(service).sweeper.sweep_once()
    assert await value(service, "tamiyo_retention_sweeps_total", result="done") == 1


async def test_parameters_are_refused(service: Service) -> None:
    assert (await service.http.get("/metrics?run=r")).status_code == 422
