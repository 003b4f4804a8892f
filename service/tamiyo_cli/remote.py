"""Calls to a service that no trainer makes: what operators ask of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import typer
from pydantic import BaseModel, ValidationError
from tamiyo_client import UsageError
from tamiyo_client.settings import API_KEY_VARIABLE, Endpoint
from tamiyo_client.transport import client_options
from tamiyo_leyline import LEYLINE_VERSION, ProblemCode
from tamiyo_leyline.api import LEYLINE_HEADER, MAX_PAGE, Page
from tamiyo_leyline.fields import RUN_ID_PATTERN

from tamiyo_cli import unreachable
from tamiyo_cli.terminal import harmless

Answer = TypeVar("Answer", bound=BaseModel)

_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 5.0
_KEY_REMEDY: Final = f"export {API_KEY_VARIABLE}=KEY, with a key that `tamiyo keys create` made"
_RUN_ID: Final = re.compile(RUN_ID_PATTERN)
_SCHEME: Final = re.compile(r"\A(?:[a-z0-9+.-]*:/+)?", re.IGNORECASE)


_REMEDIES: Final[Mapping[str, str]] = {
    ProblemCode.UNAUTHORIZED: _KEY_REMEDY,
    ProblemCode.RUN_NOT_FOUND: "`tamiyo runs` lists them",
}
"""What somebody at a command line does about a refusal."""


class RefusedError(Exception):
    """The service refused a call, or did not answer it; the message says why."""


class Some(NamedTuple, Generic[Answer]):
    """The beginning of a list."""

    items: list[Answer]
    more: bool
    """Whether the list goes on."""


def first(items: Iterator[Answer], limit: int) -> Some[Answer]:
    """The first `limit` items, and whether there are more."""
    found = list(islice(items, limit + 1))
    return Some(found[:limit], len(found) > limit)


def tell_more(some: Some[Answer], limit: int) -> None:
    """Tell, beside the output, that a list was cut, if it was."""
    if some.more:
        typer.echo(f"the first {limit}; there are more: --limit", err=True)


@contextmanager
def told_in_a_line(command: str) -> Iterator[None]:
    """What goes wrong ends the command with status 1 and one line on standard error."""
    try:
        yield
    except (RefusedError, httpx.HTTPError) as error:
        message = unreachable.told(error) if isinstance(error, httpx.HTTPError) else str(error)
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


def _require_address(url: str) -> None:
    """Return if a service can be at `url`.

    Raises:
        RefusedError: if that is no address, or has a password in it; the message does not show that.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if usable and "@" in parts.netloc:
        raise RefusedError(f"the address has a password in it; {_KEY_REMEDY}")
    if not usable or parts.query or parts.fragment:
        raise RefusedError(
            f"{_harmless_address(url)!r} is no address of a service; "
            "--url or TAMIYO_URL names one, such as http://127.0.0.1:8000"
        )


def _harmless_address(url: str) -> str:
    """What somebody took for an address, without what may be a password: it may be the database's."""
    if "@" in url:
        # Where the password ends is not known if it was not written as it should be.
        scheme = _SCHEME.match(url)
        return f"{scheme.group() if scheme else ''}***"
    address, query, _ = url.partition("?")
    return f"{address}?***" if query else address


class Remote:
    """A service, asked with the key of the environment. Errors are `RefusedError` and those of httpx.

    Args:
        url: where it is.
        read_seconds: longest silence while an answer comes; None: any.
    """

    def __init__(self, url: str, *, read_seconds: float | None = _SECONDS) -> None:
        _require_address(url)
        headers = {LEYLINE_HEADER: LEYLINE_VERSION} | _authorization()
        try:
            self._client = httpx.Client(
                base_url=url,
                headers=headers,
                timeout=httpx.Timeout(_SECONDS, read=read_seconds, connect=_CONNECT_SECONDS),
                **client_options(Endpoint(url, headers)),
            )
        except UsageError as error:
            why = str(error.__cause__).rstrip(".")
            raise RefusedError(
                f"no connection can be set up as the environment says: {why}; look at HTTP_PROXY, "
                "HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
            ) from error
        except httpx.InvalidURL as error:
            raise RefusedError(f"{_harmless_address(url)} is no address: {error}") from error

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

    def pages(
        self,
        schema: type[Page[Answer]],
        path: str,
        *,
        limit: int,
        parameters: Mapping[str, Any] | None = None,
    ) -> Iterator[Answer]:
        """All items of a list, page by page.

        Args:
            schema: of a page.
            path: of the list.
            limit: how many to ask for at a time; a service gives no more than `MAX_PAGE`.
            parameters: filters.
        """
        wanted = {**(parameters or {}), "limit": str(min(limit, MAX_PAGE))}
        while True:
            page = self.read(schema, "GET", path, params=wanted)
            yield from page.items
            if page.next_cursor is None or page.next_cursor == wanted.get("cursor"):
                return
            wanted["cursor"] = page.next_cursor

    def some(
        self,
        schema: type[Page[Answer]],
        path: str,
        *,
        limit: int,
        parameters: Mapping[str, Any] | None = None,
    ) -> Some[Answer]:
        """The first `limit` items of a list."""
        return first(self.pages(schema, path, limit=limit + 1, parameters=parameters), limit)

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
        problem = response.json()
        detail, code = str(problem["detail"]), problem.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        detail, code = f"{response.url} answers {response.status_code}; is that a Tamiyo service?", None
    remedy = _REMEDIES.get(code) if isinstance(code, str) else None
    # What the service advises is meant for trainers.
    raise RefusedError(detail if remedy is None else f"{detail.partition('; ')[0]}; {remedy}")


def given(**values: Any) -> dict[str, Any]:
    """The parameters that were given."""
    return {name: value for name, value in values.items() if value is not None and value != []}


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
