"""The page's session: a key is exchanged for a cookie."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from structlog.testing import capture_logs
from tamiyo_service.auth.caller import Scope
from tamiyo_service.store import MemoryStore, Store

from tests.service.conftest import Service, sql_store
from tests.service.keyholders import Holders, asking_for_keys, given_key

PAGE = {"tamiyo-page": "1"}


async def signed_in(holders: Holders, scope: Scope = Scope.OPERATOR, *prefixes: str) -> httpx.AsyncClient:
    """A browser that has signed in with a new key."""
    made = await given_key(holders.store, scope, *prefixes, name="ann", created=holders.service.clock())
    browser = holders.client()
    response = await browser.post("/session", json={"key": made.key}, headers=PAGE)
    assert response.status_code == 201, response.text
    return browser


async def test_a_browser_signs_in_looks_steers_and_signs_out(closed_store: Store) -> None:
    async with asking_for_keys(closed_store) as holders:
        browser = await signed_in(holders)
        view = (await browser.get("/session")).json()
        assert (view["required"], view["name"], view["scope"], view["prefixes"]) == (
            True,
            "ann",
            "operator",
            [],
        )
        assert (await browser.put("/runs/run", json={}, headers=PAGE)).status_code == 201
        assert (await browser.get("/fleet")).status_code == 200
        held = await browser.put("/runs/run/hold", json={"reason": "why"}, headers=PAGE)
        assert held.status_code == 200
        stolen = dict(browser.cookies)
        assert (await browser.delete("/session", headers=PAGE)).status_code == 204
        assert not browser.cookies
        assert (await browser.get("/fleet")).status_code == 401
        assert (await holders.client().get("/fleet", headers=_cookie(stolen))).status_code == 401


async def test_the_cookie_is_for_the_browser_alone() -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        made = await given_key(holders.store, Scope.TRAINER, created=holders.service.clock())
        response = await holders.client().post("/session", json={"key": made.key}, headers=PAGE)
        cookie = response.headers["set-cookie"]
        assert cookie.startswith("tamiyo=")
        assert {"HttpOnly", "Path=/", "SameSite=strict", "Max-Age=43200"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert made.key not in cookie


async def test_with_tls_only_tls_may_set_and_see_the_cookie() -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        made = await given_key(holders.store, Scope.TRAINER, created=holders.service.clock())
        browser = httpx.AsyncClient(
            transport=httpx.ASGITransport(holders.service.app), base_url="https://tamiyo"
        )
        response = await browser.post("/session", json={"key": made.key}, headers=PAGE)
        cookie = response.headers["set-cookie"]
        assert cookie.startswith("__Host-tamiyo=")
        assert "Secure" in cookie.split("; ")
        assert "Domain" not in cookie
        assert (await browser.get("/runs")).status_code == 200
        # The same value under the name that anything on the domain may set is no session.
        value = browser.cookies["__Host-tamiyo"]
        browser.cookies.clear()
        assert (await browser.get("/runs", headers={"cookie": f"tamiyo={value}"})).status_code == 401
        await browser.aclose()


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/runs/run"), ("POST", "/runs/run/epoch"), ("POST", "/epochs"), ("DELETE", "/runs/run")],
)
async def test_a_session_changes_nothing_without_the_pages_header(method: str, path: str) -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        browser = await signed_in(holders)
        refused = await browser.request(method, path, json={})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert await holders.store.run("run") is None
        taken = await browser.request(method, path, json={}, headers=PAGE)
        assert taken.status_code != 403


async def test_nobody_is_signed_in_or_out_by_another_page() -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        made = await given_key(holders.store, Scope.TRAINER, created=holders.service.clock())
        refused = await holders.client().post("/session", json={"key": made.key})
        assert (refused.status_code, "set-cookie" in refused.headers) == (403, False)
        foreign = PAGE | {"sec-fetch-site": "same-site"}
        refused = await holders.client().post("/session", json={"key": made.key}, headers=foreign)
        assert (refused.status_code, "set-cookie" in refused.headers) == (403, False)
        browser = await signed_in(holders)
        assert (await browser.delete("/session")).status_code == 403
        assert (await browser.get("/session")).status_code == 200


@pytest.mark.parametrize("body", [{}, {"key": ""}, {"key": 1}, {"key": "tamiyo_x"}, {"key": "x" * 300}, []])
async def test_what_is_no_key_signs_nobody_in(body: object) -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        response = await holders.client().post("/session", json=body, headers=PAGE)
        assert response.status_code in (401, 422)
        assert "set-cookie" not in response.headers


async def test_a_session_is_no_key_and_a_key_no_session() -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        made = await given_key(holders.store, Scope.TRAINER, created=holders.service.clock())
        browser = await signed_in(holders)
        token = browser.cookies["tamiyo"]
        for _ in range(2):
            assert (await holders.client(token).get("/runs")).status_code == 401
            assert (
                await holders.client().get("/runs", headers={"cookie": f"tamiyo={made.key}"})
            ).status_code == 401
            assert (await browser.get("/runs")).status_code == 200
            assert (await holders.client(made.key).get("/runs")).status_code == 200
        response = await holders.client().post("/session", json={"key": token}, headers=PAGE)
        assert response.status_code == 401


async def test_a_session_ends_after_twelve_hours() -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        browser = await signed_in(holders)
        assert (await browser.get("/runs")).status_code == 200
        holders.service.clock.advance(12 * 3600 + 1)
        await holders.service.app.state.services.ring.reread()
        assert (await browser.get("/runs")).status_code == 401


async def test_a_session_ends_with_its_key() -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        browser = await signed_in(holders)
        assert (await browser.get("/runs")).status_code == 200
        (row,) = await holders.store.keys.all()
        await holders.store.keys.revoke(row.key_id, 0)
        await holders.service.app.state.services.ring.reread()
        assert (await browser.get("/runs")).status_code == 401


async def test_a_session_has_the_scope_and_the_prefixes_of_its_key() -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        browser = await signed_in(holders, Scope.TRAINER, "team-a.")
        assert (await browser.get("/events")).status_code == 403
        assert (await browser.get("/runs/team-b.one")).status_code == 404
        assert (await browser.get("/session")).json()["prefixes"] == ["team-a."]


async def test_every_replica_knows_the_session(tmp_path: Path) -> None:
    async with asking_for_keys(sql_store(tmp_path)) as holders, asking_for_keys(sql_store(tmp_path)) as other:
        browser = await signed_in(holders)
        replica = other.client()
        headers = _cookie(dict(browser.cookies))
        assert (await replica.get("/runs", headers=headers)).status_code == 200
        assert (await replica.delete("/session", headers=headers | PAGE)).status_code == 204
        await holders.service.app.state.services.ring.reread()
        assert (await browser.get("/runs")).status_code == 401


async def test_where_no_key_is_required_there_is_nothing_to_sign_in_to(service: Service) -> None:
    view = await service.get("/session")
    assert (view["required"], view["name"], view["scope"], view["expires_at"]) == (False, None, "admin", None)
    response = await service.http.post("/session", json={"key": "any"}, headers=PAGE)
    assert (response.status_code, "set-cookie" in response.headers) == (201, False)


@pytest.mark.parametrize(
    "cookie", ["", "tamiyo", "tamiyo=", "tamiyo=\xff", "a=b; c", 'tamiyo="x"', ";;;", "other=1"]
)
async def test_cookies_that_are_none_of_ours_let_nobody_in(cookie: str) -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        response = await holders.client().get("/runs", headers={b"cookie": cookie.encode("latin-1")})
        assert response.status_code == 401


@pytest.mark.parametrize(
    "cookies",
    [
        'theirs={"a":1}; {}',
        "{}; theirs=[1,2]{{",
        "a b=c;{}",
        "expires=1; {}",
        "tamiyo=older; {}",
        'theirs="' + 60_000 * "\\" + '"; {}',
    ],
)
async def test_cookies_of_others_do_not_hide_ours(cookies: str) -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        browser = await signed_in(holders)
        ours = f"tamiyo={browser.cookies['tamiyo']}"
        headers = {"cookie": cookies.replace("{}", ours)}
        for path in ("/session", "/runs"):
            assert (await holders.client().get(path, headers=headers)).status_code == 200, path


async def test_nothing_behind_the_border_reads_cookies() -> None:
    async def show(request: Request) -> JSONResponse:
        return JSONResponse(list(request.headers))

    async with asking_for_keys(MemoryStore()) as holders:
        holders.service.app.add_route("/docs/headers", show)
        client = holders.client()
        # Reading this one takes `http.cookies` half a minute.
        headers = {"cookie": 'a="' + 60_000 * "\\" + '"', "x-other": "kept"}
        seen = (await client.get("/docs/headers", headers=headers)).json()
        assert "cookie" not in seen
        assert "x-other" in seen
        assert (await client.get("/healthz", headers=headers)).status_code == 200


async def test_signing_in_and_out_is_audited() -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        with capture_logs() as entries:
            browser = await signed_in(holders)
            await browser.delete("/session", headers=PAGE)
        told = [(one["action"], one["by"], one["status"]) for one in entries if one["event"] == "audit"]
        assert told == [("sign_in", "ann", 201), ("sign_out", "ann", 204)]


async def test_a_refused_sign_in_is_audited() -> None:
    async with asking_for_keys(MemoryStore()) as holders:
        with capture_logs() as entries:
            await holders.client().post("/session", json={"key": "tamiyo_wrong"}, headers=PAGE)
        (told,) = [one for one in entries if one["event"] == "audit"]
        assert (told["action"], told["by"], told["done"], told["status"]) == ("sign_in", None, False, 401)
        assert "wrong" not in str(told)


def _cookie(cookies: dict[str, str]) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
