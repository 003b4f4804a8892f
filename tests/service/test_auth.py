"""Who may call: keys, scopes, and the one table of routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from tamiyo_service.auth.access import ROUTES, access_to
from tamiyo_service.auth.audit import AUDITED, Strangers, audit
from tamiyo_service.auth.caller import ADMISSION, ANYBODY, Scope
from tamiyo_service.store import MemoryStore

from tests.service.conftest import Service
from tests.service.keyholders import Holders, asking_for_keys, given_key
from tests.service.samples import report

HIDDEN = (
    "/",
    "/ui/{_place:path}",
    "/page/{digest}/{name}",
    "/openapi.json",
    "/docs",
    "/docs/oauth2-redirect",
)
"""Routes that the OpenAPI document leaves out."""
PARTS = {
    "run_id": "run",
    "epoch": "1",
    "command_id": "c",
    "name": "n",
    "version": "1",
    "digest": "d",
    "_place:path": "x",
}


@pytest.fixture
async def holders() -> AsyncIterator[Holders]:
    """A service in memory that asks for keys."""
    async with asking_for_keys(MemoryStore()) as opened:
        yield opened


def address(path: str) -> str:
    """A path with its parameters filled in."""
    for name, value in PARTS.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def code(response: httpx.Response) -> tuple[int, str | None]:
    """Status and code of an answer."""
    told = response.json() if response.headers.get("content-type", "").startswith("application/") else {}
    return response.status_code, told.get("code")


async def test_the_table_has_every_route_and_no_other(holders: Holders) -> None:
    document = holders.service.app.openapi()
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    hidden = {("GET", path) for path in HIDDEN}
    assert set(ROUTES) == described | hidden
    client = holders.client()
    for path in HIDDEN:
        assert (await client.get(address(path))).status_code in (200, 404), path


async def test_without_a_key_only_what_is_open_answers(holders: Holders) -> None:
    client = holders.client()
    for (method, path), access in ROUTES.items():
        response = await client.request(method, address(path))
        if access.scope is None:
            assert response.status_code != 401 or path == "/session", (method, path)
            continue
        assert code(response) == (401, "unauthorized"), (method, path)
        assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_key_opens_what_its_scope_includes_and_nothing_else(holders: Holders, scope: Scope) -> None:
    client = await holders.holder(scope)
    for (method, path), access in ROUTES.items():
        if access.scope is None or path.endswith("events"):
            continue
        response = await client.request(method, address(path))
        if scope.includes(access.scope):
            assert response.status_code not in (401, 403), (method, path)
        else:
            assert code(response) == (403, "forbidden"), (method, path)
            assert f"scope {access.scope}" in response.json()["detail"]


async def test_head_needs_what_get_needs() -> None:
    assert access_to("HEAD", "/runs") == access_to("GET", "/runs")


async def test_what_is_nowhere_is_told_to_who_has_a_key(holders: Holders) -> None:
    client = await holders.holder(Scope.TRAINER)
    assert code(await client.get("/nonsense")) == (404, "not_found")
    assert code(await client.patch("/runs")) == (405, "method_not_allowed")
    assert code(await holders.client().get("/nonsense")) == (401, "unauthorized")


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer tamiyo_wrong", "Basic dGFtaXlvOnRhbWl5bw==", "tamiyo_x", "Bearer \xff"],
)
async def test_what_is_no_key_is_refused(holders: Holders, authorization: str) -> None:
    headers = {b"authorization": authorization.encode("latin-1")}
    for method, path in (("GET", "/runs"), ("POST", "/runs/run/epoch")):
        response = await holders.client().request(method, path, headers=headers)
        assert code(response) == (401, "unauthorized")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_bearer_in_any_case(holders: Holders, scheme: str) -> None:
    made = await given_key(holders.store, Scope.TRAINER, created=holders.service.clock())
    response = await holders.client().get("/runs", headers={"authorization": f"{scheme} {made.key}"})
    assert response.status_code == 200


async def test_a_trainer_with_a_key_is_answered_as_without_authentication(
    holders: Holders, service: Service
) -> None:
    client = await holders.holder(Scope.TRAINER)
    for epoch in range(12):
        answer = await client.post("/runs/run/epoch", json=report(epoch))
        (plain,) = await service.reports("run", epoch)
        kept = {"decision_id", "issued_at", "commands"}
        assert answer.status_code == 200
        assert {k: v for k, v in answer.json().items() if k not in kept} == {
            k: v for k, v in plain.items() if k not in kept
        }


async def test_a_key_ends_when_it_was_made_to(holders: Holders) -> None:
    clock = holders.service.clock
    client = await holders.holder(Scope.TRAINER, expires=clock() + timedelta(days=90))
    assert (await client.get("/runs")).status_code == 200
    clock.advance(91 * 86_400)
    assert holders.service.app.state.services.ring is not None
    await holders.service.app.state.services.ring.reread()
    assert code(await client.get("/runs")) == (401, "unauthorized")


async def test_a_revoked_key_is_refused_once_keys_were_read_again(holders: Holders) -> None:
    made = await given_key(holders.store, Scope.TRAINER, created=holders.service.clock())
    client = holders.client(made.key)
    assert (await client.post("/runs/run/epoch", json=report(1))).status_code == 200
    await holders.store.keys.revoke(made.row.key_id, 0)
    await holders.service.app.state.services.ring.reread()
    assert code(await client.post("/runs/run/epoch", json=report(2))) == (401, "unauthorized")


async def test_metrics_may_be_open_to_all() -> None:
    async with asking_for_keys(MemoryStore(), metrics_open=True) as holders:
        assert (await holders.client().get("/metrics")).status_code == 200
        confined = await holders.holder(Scope.TRAINER, "team-a.")
        assert (await confined.get("/metrics")).status_code == 200
        assert (await holders.client().get("/runs")).status_code == 401


async def test_where_nobody_is_asked_everybody_may_do_everything(service: Service) -> None:
    assert (await service.report("run", 1)).status_code == 200
    response = await service.http.get("/runs", headers={"authorization": "Bearer nonsense"})
    assert response.status_code == 200
    assert "securitySchemes" not in (await service.get("/openapi.json"))["components"]


async def test_the_document_says_that_keys_are_required(holders: Holders) -> None:
    document = (await holders.client().get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["security"] == [{"key": []}, {"session": []}]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert "security" not in document["paths"]["/runs"]["get"]


async def test_what_is_said_is_kept_by_no_cache_and_taken_for_nothing_else(holders: Holders) -> None:
    client = await holders.holder(Scope.OPERATOR)
    for response in (
        await client.post("/runs/run/epoch", json=report(1)),
        await client.post("/runs/run/epoch", json={}),
        await client.get("/runs"),
        await client.get("/runs/absent"),
        await holders.client().get("/runs"),
        await client.get("/metrics"),
    ):
        assert response.headers.get_list("cache-control") == ["no-store"]
        assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    page = await client.get("/")
    assert page.headers.get_list("cache-control") == ["no-cache"]
    assert page.headers.get_list("x-content-type-options") == ["nosniff"]


def audited(entries: list[Any]) -> list[tuple[Any, ...]]:
    return [
        (entry["action"], entry["by"], entry["reason"], entry["status"], entry["path"])
        for entry in entries
        if entry["event"] == "audit"
    ]


async def test_privileged_actions_leave_who_and_why(holders: Holders) -> None:
    trainer = await holders.holder(Scope.TRAINER, name="ci")
    operator = await holders.holder(Scope.OPERATOR, name="ann")
    await trainer.post("/runs/run/epoch", json=report(1))
    with capture_logs() as entries:
        await operator.put("/runs/run/hold", json={"reason": "too hot"})
        await trainer.delete("/runs/run/hold")
        await operator.delete("/runs/run/hold")
        await operator.post("/runs/run/notes", json={"text": "a note", "by": "somebody else"})
        await operator.put("/runs/run/labels", json={"labels": {}})
        await operator.delete("/runs/absent")
        await operator.get("/runs")
    assert audited(entries) == [
        ("hold", "ann", "too hot", 200, "/runs/run/hold"),
        ("release", "ci", None, 403, "/runs/run/hold"),
        ("release", "ann", None, 200, "/runs/run/hold"),
        ("note", "ann", None, 201, "/runs/run/notes"),
        ("labels", "ann", None, 200, "/runs/run/labels"),
        ("delete", "ann", None, 404, "/runs/absent"),
    ]
    keys = {row.name: row.key_id for row in await holders.store.keys.all()}
    told = {(entry["by"], entry["key"]) for entry in entries if entry["event"] == "audit"}
    assert told == {("ann", keys["ann"]), ("ci", keys["ci"])}


def test_what_was_not_answered_is_not_said_to_be_done() -> None:
    scope = {AUDITED: "delete", ADMISSION: ANYBODY, "path": "/runs/run"}
    with capture_logs() as entries:
        for status in (0, 204, 404):
            audit(scope, status)
    assert [entry["done"] for entry in entries] == [False, True, False]


async def test_who_has_no_key_leaves_an_entry(holders: Holders) -> None:
    with capture_logs() as entries:
        refused = [
            await holders.client().put("/runs/run/hold", json={"reason": "mine"}),
            await holders.client("tamiyo_" + "x" * 43).get("/runs"),
        ]
        assert (await holders.client().get("/healthz")).status_code == 200
    assert [response.status_code for response in refused] == [401, 401]
    (entry,) = entries
    assert (entry["event"], entry["action"], entry["done"]) == ("audit", "unauthorized", False)
    assert (entry["path"], entry["client"], entry["untold"]) == ("/runs/run/hold", "127.0.0.1", 0)


def test_who_tries_out_keys_does_not_fill_the_log() -> None:
    now = 7.0
    strangers = Strangers(lambda: now)
    with capture_logs() as entries:
        for moment in (7.0, 7.1, 7.9, 8.0, 8.5, 60.0, 61.0):
            now = moment
            strangers.tell({"path": "/runs", "client": None})
    assert [entry["untold"] for entry in entries] == [0, 2, 1, 0]


async def test_a_note_bears_the_name_of_the_key_whatever_it_says(holders: Holders) -> None:
    operator = await holders.holder(Scope.OPERATOR, name="ann")
    await operator.put("/runs/run", json={})
    note = await operator.post("/runs/run/notes", json={"text": "a note", "by": "somebody else"})
    assert note.json()["by"] == "ann"


async def test_keys_are_in_no_answer_and_no_log(holders: Holders) -> None:
    made = await given_key(holders.store, Scope.ADMIN, created=holders.service.clock())
    said = list[str]()
    with capture_logs() as entries:
        for key in (made.key, "tamiyo_" + "x" * 43):
            client = holders.client(key)
            for method, path in ROUTES:
                if path.endswith("events"):
                    continue
                response = await client.request(method, address(path), json={"reason": "why"})
                said += [response.text, str(response.headers)]
            bodies: tuple[Any, ...] = ({"key": key}, {"key": [key]}, {"key": key * 9}, {"kee": key}, [key])
            for body in bodies:
                for headers in ({}, {"tamiyo-page": "1"}):
                    response = await holders.client().post("/session", json=body, headers=headers)
                    said += [response.text, str(response.headers)]
    told = " ".join([*said, repr(entries)])
    assert made.row.hash not in told
    assert made.key not in told
    assert "x" * 43 not in told
