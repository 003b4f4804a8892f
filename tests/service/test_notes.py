"""Notes and labels: kept, listed, told who and when, and without effect on decisions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tamiyo_leyline.api import NoteView
from tamiyo_service.store import SqlStore, Store
from tamiyo_service.store.rows import InputKind

from tests.service.conftest import Service, serving


@pytest.fixture
async def live(closed_store: Store) -> AsyncIterator[Service]:
    """A service over each kind of store."""
    async with serving(closed_store) as service:
        yield service


async def test_notes_are_listed_the_latest_first(live: Service) -> None:
    await live.reports("run", 0)
    for text, by in (("first", "ada"), ("zweite ☃", None), ("third", "bob")):
        response = await live.http.post("/runs/run/notes", json={"text": text, "by": by})
        assert response.status_code == 201
        NoteView.model_validate(response.json())
        await live.reports("run", int(response.json()["note_id"]))
    page = await live.get("/runs/run/notes?limit=2")
    rest = await live.get(f"/runs/run/notes?limit=2&cursor={page['next_cursor']}")
    notes = [*page["items"], *rest["items"]]
    assert [(note["text"], note["by"]) for note in notes] == [
        ("third", "bob"), ("zweite ☃", None), ("first", "ada"),
    ]  # fmt: skip
    assert rest["next_cursor"] is None
    assert notes[-1]["last_epoch"] == 0
    assert notes[0]["at"] > notes[1]["at"]


async def test_a_note_changes_no_decision(live: Service) -> None:
    for run_id in ("noted", "quiet"):
        for epoch in range(12):
            await live.reports(run_id, epoch)
            if run_id == "noted":
                await live.http.post("/runs/noted/notes", json={"text": "odd"})
    noted, quiet = [
        [
            [(command["command_type"], command["reason"]) for command in item["commands"]]
            for item in (await live.get(f"/runs/{run_id}/decisions"))["items"]
        ]
        for run_id in ("noted", "quiet")
    ]
    assert noted == quiet
    record = await live.get("/runs/noted/decisions/11")
    assert record["epoch"] == 11
    again = await live.report("noted", 11)
    assert again.headers["tamiyo-replayed"] == "true"


async def test_a_completed_run_takes_notes_and_labels(live: Service) -> None:
    await live.reports("run", 0)
    await live.http.post("/runs/run/complete", json={"result": "failed"})
    assert (await live.http.post("/runs/run/notes", json={"text": "a bad seed"})).status_code == 201
    view = (await live.http.put("/runs/run/labels", json={"labels": {"why": "seed"}})).json()
    assert (view["status"], view["labels"]) == ("COMPLETED", {"why": "seed"})


async def test_labels_are_replaced_and_found(live: Service) -> None:
    config = {"labels": {"team": "a", "site": "x"}}
    await live.http.put("/runs/run", json=config)
    response = await live.http.put("/runs/run/labels", json={"labels": {"team": "b"}, "by": "ada"})
    assert (response.status_code, response.json()["labels"]) == (200, {"team": "b"})
    assert [run["run_id"] for run in (await live.get("/runs?label=team:b"))["items"]] == ["run"]
    for gone in ("team:a", "site:x"):
        assert (await live.get(f"/runs?label={gone}"))["items"] == []
    assert (await live.get("/runs"))["items"][0]["labels"] == {"team": "b"}
    # The trainer that comes back sends what it always sent.
    assert (await live.http.put("/runs/run", json=config)).status_code == 200


async def test_who_changed_labels_is_kept(live: Service) -> None:
    await live.http.put("/runs/run", json={"labels": {"team": "a"}})
    await live.http.put("/runs/run/labels", json={"labels": {}, "by": "ada"})
    run = await live.store.run("run")
    assert run is not None
    (change,) = await live.store.journal.inputs(run.run_pk, InputKind.LABELS, None, 10)
    assert change.payload == '{"labels":{},"before":{"team":"a"},"by":"ada"}'


async def test_the_same_labels_again_change_nothing(live: Service) -> None:
    await live.http.put("/runs/run", json={"labels": {"team": "a"}})
    before = await live.get("/runs/run")
    after = (await live.http.put("/runs/run/labels", json={"labels": {"team": "a"}})).json()
    assert after == before


async def test_two_replicas_keep_both_notes(database_url: str) -> None:
    async with serving(SqlStore(database_url)) as one, serving(SqlStore(database_url)) as two:
        await one.reports("run", 0)
        await two.http.post("/runs/run/notes", json={"text": "two"})
        await one.http.post("/runs/run/notes", json={"text": "one"})
        notes = (await two.get("/runs/run/notes"))["items"]
    assert [note["text"] for note in notes] == ["one", "two"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": "  \n"},
        {"text": "x" * 2001},
        {"text": "a\0b"},
        {"text": 1},
        {"text": "a", "x": 1},
    ],
)
async def test_a_note_that_is_none_is_refused(service: Service, body: object) -> None:
    await service.reports("run", 0)
    response = await service.http.post("/runs/run/notes", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert (await service.get("/runs/run/notes"))["items"] == []


@pytest.mark.parametrize(
    "labels", [{"": "a"}, {"a": 1}, {f"k{n}": "v" for n in range(33)}, {"a": "x" * 2001}, []]
)
async def test_labels_that_are_none_are_refused(service: Service, labels: object) -> None:
    await service.http.put("/runs/run", json={"labels": {"team": "a"}})
    response = await service.http.put("/runs/run/labels", json={"labels": labels})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert (await service.get("/runs/run"))["labels"] == {"team": "a"}


async def test_remarks_need_a_run(service: Service) -> None:
    for response in (
        await service.http.post("/runs/none/notes", json={"text": "a"}),
        await service.http.get("/runs/none/notes"),
        await service.http.put("/runs/none/labels", json={"labels": {}}),
    ):
        assert (response.status_code, response.json()["code"]) == (404, "run_not_found")
