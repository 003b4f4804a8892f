"""The page's files: how they are sent, and under which policy."""

from __future__ import annotations

import re

import pytest
from tamiyo_service.api.page import PageFiles

from tests.service.conftest import Service


async def names(service: Service) -> list[str]:
    """The addresses of the files that the document names."""
    text = (await service.http.get("/")).text
    return re.findall(r'(?:href|src)="(/page/[^"]+)"', text)


@pytest.mark.parametrize("path", ["/", "/ui/runs/some.run:1", "/ui/compare/a/b", "/ui/anything"])
async def test_every_place_is_the_same_document(service: Service, path: str) -> None:
    response = await service.http.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.content == (await service.http.get("/")).content


async def test_the_policy_allows_the_pages_own_files_and_nothing_else(service: Service) -> None:
    for path in ("/", *await names(service)):
        response = await service.http.get(path)
        policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "connect-src": "'self'",
            "img-src": "'self' data:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cross-origin-opener-policy"] == "same-origin"


async def test_the_document_has_no_script_or_style_of_its_own(service: Service) -> None:
    text = (await service.http.get("/")).text
    assert re.findall(r"<script(?![^>]*\ssrc=)", text) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|https?://", text) == []


async def test_files_are_kept_by_their_digest_and_the_document_is_asked_for_again(service: Service) -> None:
    document = await service.http.get("/")
    assert document.headers["cache-control"] == "no-cache"
    paths = await names(service)
    assert len(paths) >= 4
    for path in paths:
        response = await service.http.get(path)
        assert response.status_code == 200, path
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_what_a_browser_has_is_not_sent_again(service: Service) -> None:
    for path in ("/", *await names(service)):
        etag = (await service.http.get(path)).headers["etag"]
        for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            response = await service.http.get(path, headers={"if-none-match": condition})
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["etag"] == etag
        assert (await service.http.get(path, headers={"if-none-match": '"other"'})).status_code == 200


async def test_another_versions_address_gives_this_versions_file_but_not_for_ever(service: Service) -> None:
    response = await service.http.get("/page/0123456789abcdef/main.js")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-cache"


async def test_head_answers_like_get_without_the_content(service: Service) -> None:
    response = await service.http.head("/")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["etag"] == (await service.http.get("/")).headers["etag"]


@pytest.mark.parametrize(
    "path", ["/page/x/nothing.js", "/page/x/index.html", "/page/x/..%2Fapp.py", "/page/x"]
)
async def test_nothing_but_the_pages_files_is_sent(service: Service, path: str) -> None:
    response = await service.http.get(path)
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


def test_the_digest_changes_with_any_file() -> None:
    files = {"index.html": b"{{files}}/main.js", "main.js": b"one"}
    one, other = PageFiles(files), PageFiles(files | {"main.js": b"other"})
    assert one.digest != other.digest
    assert one.document.content == f"/page/{one.digest}/main.js".encode()
    assert one.document.etag != other.document.etag


def test_no_file_makes_markup_of_text() -> None:
    files = PageFiles.shipped()
    for name in ("main.js", "dom.js", "fleet.js", "run.js", "why.js", "parts.js"):
        file = files.named(name)
        assert file is not None
        found = re.findall(rb"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", file.content)
        assert found == [], name
