"""Calls to a service that no trainer makes: what operators ask of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx
import typer
from pydantic import BaseModel, ValidationError
from tamiyo_client.settings import API_KEY_VARIABLE
from tamiyo_leyline import LEYLINE_VERSION
from tamiyo_leyline.api import LEYLINE_HEADER, Page
from tamiyo_leyline.fields import RUN_ID_PATTERN

from tamiyo_cli.terminal import harmless

Answer = TypeVar("Answer", bound=BaseModel)

_SECONDS: Final = 10.0
_RUN_ID: Final = re.compile(RUN_ID_PATTERN)


class RefusedError(Exception):
    """The service refused a call, or did not answer it; the message says why."""


@contextmanager
def told_in_a_line(command: str) -> Iterator[None]:
    """What goes wrong ends the command with status 1 and one line on standard error."""
    try:
        yield
    except (RefusedError, httpx.HTTPError) as error:
        message = str(error) or type(error).__name__
        typer.echo(f"tamiyo {command}: {harmless(message)}", err=True)
        raise typer.Exit(1) from error


def _authorization() -> dict[str, str]:
    """The header with the key of the environment, if there is one.

    Raises:
        RefusedError: if it cannot be sent; the message does not show it.
    """
    key = os.environ.get(API_KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise RefusedError(f"{API_KEY_VARIABLE} is no key: it has characters that no key has")
    return {"Authorization": f"Bearer {key}"} if key else {}


class Remote:
    """A service, asked with the key of the environment. Errors are `RefusedError` and those of httpx.

    Args:
        url: where it is.
        read_seconds: longest silence while an answer comes; None: any.
    """

    def __init__(self, url: str, *, read_seconds: float | None = _SECONDS) -> None:
        try:
            self._client = httpx.Client(
                base_url=url,
                headers={LEYLINE_HEADER: LEYLINE_VERSION} | _authorization(),
                timeout=httpx.Timeout(_SECONDS, read=read_seconds),
            )
        except httpx.InvalidURL as error:
            raise RefusedError(f"{url} is no address: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer to a call.

        Raises:
            RefusedError: if it is no success.
        """
        response = self._client.request(method, path, **request)
        require_success(response)
        return response

    def read(self, schema: type[Answer], method: str, path: str, **request: Any) -> Answer:
        """The answer to a call, read.

        Raises:
            RefusedError: if it is no success, or something else.
        """
        response = self.call(method, path, **request)
        try:
            return schema.model_validate_json(response.content)
        except ValidationError as error:
            raise RefusedError(
                f"the answer is none of a Tamiyo service: {error.errors()[0]['msg']}"
            ) from error

    def pages(self, schema: type[Page[Answer]], path: str, *, limit: int) -> Iterator[Answer]:
        """The items of a list, page by page, `limit` at most."""
        cursor: str | None = None
        left = limit
        while left > 0:
            parameters = {"limit": str(min(left, 1000))} | ({} if cursor is None else {"cursor": cursor})
            page = self.read(schema, "GET", path, params=parameters)
            yield from page.items[:left]
            left -= len(page.items)
            if page.next_cursor is None or page.next_cursor == cursor:
                return
            cursor = page.next_cursor

    @contextmanager
    def stream(self, path: str, **request: Any) -> Iterator[httpx.Response]:
        """The answer to a GET, still to be read.

        Raises:
            RefusedError: if it is no success.
        """
        with self._client.stream("GET", path, **request) as response:
            if not response.is_success:
                response.read()
                require_success(response)
            yield response


def require_success(response: httpx.Response) -> None:
    """Return if a call succeeded.

    Raises:
        RefusedError: if it did not.
    """
    if response.is_success:
        return
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = f"{response.url} answers {response.status_code}; is that a Tamiyo service?"
    raise RefusedError(str(detail))


def of_run(run_id: str, rest: str = "") -> str:
    """The path of something of a run.

    Raises:
        RefusedError: if that is no run id.
    """
    if _RUN_ID.fullmatch(run_id) is None or run_id in {".", ".."}:
        raise RefusedError(
            f"{run_id!r} is no run id: 1 to 128 letters, digits, dots, underscores, colons, hyphens"
        )
    return f"/runs/{quote(run_id, safe='')}{rest}"


Pause = Callable[[float], None]
"""Waits for a number of seconds."""
