"""The history: lists, cursors, and records recomputed from their inputs."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from tamiyo_leyline import DecisionItem, DecisionRecord
from tamiyo_leyline.api import Page
from tamiyo_service.api.cursor import decode_cursor, encode_cursor
from tamiyo_service.errors import InvalidQueryError
from tamiyo_service.store import MemoryStore

from tests.service.conftest import Service, serving
from tests.service.samples import report, seed


async def epochs(service: Service, query: str, run: str = "/runs/run") -> list[int]:
    return [item["epoch"] for item in (await service.get(f"{run}/decisions{query}"))["items"]]


async def a_story(service: Service) -> int:
    """A standstill, a germination, a seed that spoils everything, and its cull; the germination's epoch."""
    issued = await service.germination("run")
    first = issued["epoch"]
    for offset in range(1, 12):
        spoiled = {"accuracy_at_stage_start": 50.0, "current_val_accuracy": 40.0}
        growing = seed("TRAINING", metrics=spoiled, telemetry={"gradient_health": 0.9})
        await service.report("run", first + offset, seeds=[growing], train_loss="NaN" if offset == 3 else 0.5)
    return int(first)


async def test_a_list_of_decisions(any_service: Service) -> None:
    first = await a_story(any_service)
    response = await any_service.http.get("/runs/run/decisions")
    page = Page[DecisionItem].model_validate_json(response.content)
    assert [item.epoch for item in page.items] == list(range(first + 11, -1, -1))
    actions = {item.action for item in page.items}
    assert actions == {"WAIT", "GERMINATE_NORM", "CULL"}


async def test_every_filter(any_service: Service) -> None:
    first = await a_story(any_service)
    last = first + 11
    culls = await epochs(any_service, "?action=CULL")
    assert culls
    assert await epochs(any_service, "?action=GERMINATE") == [first]
    assert await epochs(any_service, "?action=GERMINATE_NORM&action=CULL") == [*culls, first]
    assert await epochs(any_service, "?action=germinate_norm") == [first]
    assert await epochs(any_service, "?action=GERMINATE_ATTENTION") == []
    assert await epochs(any_service, "?order=asc&limit=2") == [0, 1]
    assert await epochs(any_service, f"?since_epoch={last - 1}") == [last, last - 1]
    assert await epochs(any_service, "?until_epoch=1") == [1, 0]
    assert await epochs(any_service, "?risk=YELLOW") == [first]
    assert await epochs(any_service, "?risk=ORANGE") == culls
    assert await epochs(any_service, "?policy=learned") == []
    assert len(await epochs(any_service, "?policy=heuristic&action=WAIT")) == last - len(culls)
    assert await epochs(any_service, "?action=CULL", run="") == culls


async def test_decisions_by_time(any_service: Service) -> None:
    await any_service.report("run", 0)
    any_service.clock.advance(3600)
    await any_service.reports("run", 1)
    assert await epochs(any_service, "?since=2026-01-01T13:00:00Z") == [1]
    assert await epochs(any_service, "?until=2026-01-01T14:00:00%2B01:00") == [0]
    assert await epochs(any_service, "?since=2026-01-01T12:00:00Z&until=2026-01-01T12:30:00Z") == [0]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("run", ["", "/runs/run-1"])
async def test_pages_neither_repeat_nor_skip_while_reports_come_in(
    any_service: Service, order: str, run: str
) -> None:
    for epoch in range(6):
        await asyncio.gather(*(any_service.report(f"run-{number}", epoch) for number in range(3)))
    before = {item["decision_id"] for item in (await any_service.get(f"{run}/decisions"))["items"]}
    seen: list[str] = []
    cursor, epoch = "", 6
    while True:
        page = await any_service.get(f"{run}/decisions?order={order}&limit=4{cursor}")
        seen += [item["decision_id"] for item in page["items"]]
        if page["next_cursor"] is None or epoch > 12:
            break
        cursor = f"&cursor={page['next_cursor']}"
        await asyncio.gather(*(any_service.report(f"run-{number}", epoch) for number in range(3)))
        epoch += 1
    assert len(seen) == len(set(seen))
    assert before <= set(seen)
    if order == "desc":
        assert set(seen) == before


async def test_a_cursor_belongs_to_its_list(service: Service) -> None:
    await service.reports("run", *range(5))
    await service.reports("other", *range(5))
    cursor = (await service.get("/runs/run/decisions?limit=2"))["next_cursor"]
    for path in (
        "/runs/other/decisions",
        "/decisions",
        "/runs",
        "/runs/run/decisions?order=asc",
        "/runs/run/decisions?action=WAIT",
    ):
        separator = "&" if "?" in path else "?"
        refused = await service.http.get(f"{path}{separator}cursor={cursor}")
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_query"), path
    assert (await service.http.get(f"/runs/run/decisions?limit=3&cursor={cursor}")).status_code == 200


class Nothing(BaseModel):
    cursor: str | None = None
    limit: int = 1


@given(st.text())
def test_no_text_breaks_the_reading_of_cursors(text: str) -> None:
    with pytest.raises(InvalidQueryError):
        decode_cursor(text, Nothing())


@given(st.lists(st.integers(min_value=0, max_value=2**62), min_size=1, max_size=2))
def test_a_cursor_gives_its_position_back(position: list[int]) -> None:
    cursor = encode_cursor(tuple(position), Nothing(), "run")
    assert decode_cursor(cursor, Nothing(limit=7), "run", length=len(position)) == tuple(position)


def test_the_last_page_has_no_cursor() -> None:
    assert encode_cursor(None, Nothing()) is None


def test_a_cursor_of_another_length_is_refused() -> None:
    cursor = encode_cursor((1, 2), Nothing())
    with pytest.raises(InvalidQueryError):
        decode_cursor(cursor, Nothing())


async def test_every_decision_of_a_run_can_be_explained(any_service: Service) -> None:
    first = await a_story(any_service)
    await any_service.http.put("/runs/run/hold", json={"reason": "demo"})
    await any_service.http.post("/runs/run/epoch?backfill=true", json=report(first + 12))
    await any_service.http.delete("/runs/run/hold")
    await any_service.reports("run", first + 13)
    await any_service.http.post("/runs/run/rewind", json={"to_epoch": first + 2, "attempt": 1})
    await any_service.reports("run", first + 3, attempt=1)
    items = (await any_service.get("/runs/run/decisions"))["items"]
    assert len(items) == first + 15
    for item in items:
        path = f"/runs/run/decisions/{item['epoch']}?attempt={item['attempt']}"
        response = await any_service.http.get(path)
        record = DecisionRecord.model_validate_json(response.content)
        assert DecisionItem.model_validate(item) == DecisionItem.model_validate(record.model_dump())


async def test_a_record_tells_why(any_service: Service) -> None:
    first = await a_story(any_service)
    record = await any_service.get(f"/runs/run/decisions/{first}")
    assert record["report"] == report(first) | {
        key: value for key, value in record["report"].items() if key not in report(first)
    }
    assert record["signals"]["metrics"]["plateau_epochs"] >= 3
    assert next(iter(record["features"])) == "epoch"
    assert all(isinstance(value, float) for value in record["features"].values())
    germination = record["slots"][-1]
    assert (germination["slot_id"], germination["action"]) == (None, "GERMINATE_NORM")
    assert germination["mask"]["GERMINATE_NORM"] is True
    assert germination["comparisons"]
    assert [event["type"] for event in record["events"]]
    assert record["shadow"] == []


async def test_a_record_after_a_cull_tells_penalty_and_embargo(any_service: Service) -> None:
    await a_story(any_service)
    (culled, *_) = await epochs(any_service, "?action=CULL")
    await any_service.report("run", culled + 10)
    record = await any_service.get(f"/runs/run/decisions/{culled + 10}")
    assert record["penalties"]["norm"] > 0
    assert record["embargo_until_epoch"] == culled + 15


async def test_what_is_not_finite_is_told_as_text(any_service: Service) -> None:
    response = await any_service.http.post(
        "/runs/run/epoch?explain=true", json=report(1, val_loss="-Infinity")
    )
    assert response.json()["report"]["val_loss"] == "-Infinity"
    record = await any_service.get("/runs/run/decisions/1")
    assert record == response.json()
    assert record["signals"]["metrics"]["diverged"] is True


class TamperedStore(MemoryStore):
    """Forgets the commands of one reply, as a damaged database might."""

    def tamper(self) -> None:
        number, entry = self.journal.entries.popitem()
        reply = orjson.loads(entry.reply or "")
        reply["commands"][0]["reason"] = "something else"
        changed = entry._replace(reply=orjson.dumps(reply).decode())
        self.journal.entries[number] = changed
        self._entries[entry.run_pk][-1] = changed


async def test_an_explanation_that_contradicts_the_reply_is_a_defect() -> None:
    store = TamperedStore()
    async with serving(store) as service:
        await service.reports("run", 1)
        store.tamper()
        response = await service.http.get("/runs/run/decisions/1")
        assert response.status_code == 500
        assert response.json()["code"] == "internal_error"
        assert response.json()["error_id"]


async def test_an_empty_history(any_service: Service) -> None:
    await any_service.http.put("/runs/run")
    nothing: Any = {"items": [], "next_cursor": None}
    assert await any_service.get("/decisions") == nothing
    assert await any_service.get("/runs/run/decisions") == nothing


async def test_decisions_of_a_run_are_counted_over_all_pages(any_service: Service) -> None:
    last = (await any_service.germination("run"))["epoch"]
    await any_service.reports("other", 0)
    page = await any_service.get("/runs/run/decisions?count=true&limit=2")
    assert page["counts"] == (await any_service.get("/runs/run"))["counts"]
    assert (sum(page["counts"].values()), len(page["items"])) == (last + 1, 2)
    later = await any_service.get(f"/runs/run/decisions?limit=2&cursor={page['next_cursor']}")
    assert "counts" not in later
    for query, expected in (
        ("action=GERMINATE", 1),
        (f"since_epoch={last - 2}&action=WAIT", 2),
        ("risk=RED", 0),
    ):
        counted = await any_service.get(f"/runs/run/decisions?count=true&{query}")
        assert sum(counted["counts"].values()) == len(counted["items"]) == expected
    assert (await any_service.http.get("/decisions?count=true")).json()["code"] == "invalid_query"
