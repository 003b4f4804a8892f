"""The operators' page: our own static files, under a policy that lets them do nothing else.

::

    /                       the page; so is everything under /ui/, which the page itself tells apart
    /page/<digest>/<name>   its files: what has this digest never changes, so browsers need not ask again
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Header, Response
from starlette.exceptions import HTTPException

_MEDIA_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_DOCUMENT: Final = "index.html"
_PLACE: Final = "{{files}}"
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Text is only ever set as text: the browser refuses to make markup of it.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_GUARDED: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"

IfNoneMatch = Annotated[str | None, Header()]


class PageFile(NamedTuple):
    """A file as it is sent."""

    content: bytes
    media_type: str
    etag: str


class PageFiles:
    """The page's files.

    Args:
        contents: by name, with the document.
    """

    def __init__(self, contents: dict[str, bytes]) -> None:
        digest = hashlib.sha256()
        for name in sorted(contents):
            digest.update(name.encode() + b"\0" + contents[name] + b"\0")
        self.digest: Final = digest.hexdigest()[:16]
        document = contents[_DOCUMENT].decode().replace(_PLACE, f"/page/{self.digest}")
        self.document: Final = _file(document.encode(), "text/html; charset=utf-8")
        self._files = {
            name: _file(content, _MEDIA_TYPES[name[name.rindex(".") :]])
            for name, content in contents.items()
            if name != _DOCUMENT
        }

    @classmethod
    def shipped(cls) -> PageFiles:
        """Those that come with the service."""
        folder = resources.files("tamiyo_service") / "page"
        return cls({file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()})

    def named(self, name: str) -> PageFile | None:
        """The file of that name; None: there is none."""
        return self._files.get(name)


def page_router(files: PageFiles) -> APIRouter:
    """The routes of the page.

    Args:
        files: that it sends.
    """
    router = APIRouter(include_in_schema=False)

    @router.head("/")
    @router.get("/")
    @router.head("/ui/{_place:path}")
    @router.get("/ui/{_place:path}")
    async def show_page(if_none_match: IfNoneMatch = None) -> Response:
        """The page, whatever it is to show."""
        return _answer(files.document, if_none_match, _ASK_AGAIN)

    @router.head("/page/{digest}/{name}")
    @router.get("/page/{digest}/{name}")
    async def show_file(digest: str, name: str, if_none_match: IfNoneMatch = None) -> Response:
        """A file of the page."""
        file = files.named(name)
        if file is None:
            raise HTTPException(404)
        # Another digest is that of another version, while one replaces the other behind a load balancer.
        return _answer(file, if_none_match, _FOR_EVER if digest == files.digest else _ASK_AGAIN)

    return router


def _file(content: bytes, media_type: str) -> PageFile:
    return PageFile(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _answer(file: PageFile, if_none_match: str | None, caching: str) -> Response:
    headers = _GUARDED | {"etag": file.etag, "cache-control": caching}
    if if_none_match is not None and _names(if_none_match, file.etag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


def _names(if_none_match: str, etag: str) -> bool:
    """Whether a condition names the file, weakly or not (RFC 9110, 13.1.2)."""
    named = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return etag in named or "*" in named
