"""Checks of `tamiyo doctor` that concern a running service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
from pydantic import ValidationError
from tamiyo_client.settings import API_KEY_VARIABLE
from tamiyo_leyline import LEYLINE_VERSION, __version__
from tamiyo_leyline.api import Health

from tamiyo_cli import unreachable
from tamiyo_cli.findings import Finding, Verdict, failed, ok, skipped, warning
from tamiyo_cli.remote import RefusedError, Remote

_START: Final = "start it (tamiyo serve), or correct --url"
_SKEW: Final = timedelta(seconds=5)
"""Silence, retention and moments in lists are told by the service's clock."""
_COARSE: Final = timedelta(seconds=1)
"""A header has whole seconds and is written once a second: it is up to two late, one on average."""


def service_findings(url: str, *, expected: bool) -> Iterator[Finding]:
    """Whether a service answers, is ready, fits this version, and has the same time.

    Args:
        url: where it is.
        expected: whether somebody said that there is one.
    """
    try:
        with Remote(url) as remote:
            response = remote.call("GET", "/healthz")
            now = datetime.now(UTC)
            yield _version(response)
            yield clock(response, now)
            readiness = _readiness(remote)
            yield readiness
            yield _access(remote) if readiness.verdict is Verdict.OK else skipped("access", "not ready")
    except (RefusedError, httpx.HTTPError) as error:
        what, remedy = _why(error)
        if expected:
            yield failed("service", what, remedy)
        else:
            yield skipped("service", f"{what}; name one with --url to have it checked")


def _why(error: RefusedError | httpx.HTTPError) -> tuple[str, str]:
    """Why there is no answer, and what to do."""
    if isinstance(error, RefusedError):
        what, _, remedy = str(error).partition("; ")
        return what, remedy or _START
    return unreachable.told(error).rpartition("; ")[0], _START


def _version(response: httpx.Response) -> Finding:
    try:
        health = Health.model_validate_json(response.content)
    except ValidationError:
        return failed("service", f"{response.url} is no Tamiyo service", "correct --url")
    told = f"version {health.version}, Leyline {health.leyline}"
    if health.leyline.split(".")[0] != LEYLINE_VERSION.split(".")[0]:
        return failed("service", f"{told}; here it is Leyline {LEYLINE_VERSION}", "upgrade the older side")
    if health.version != __version__:
        return warning(
            "service", f"{told}; here it is {__version__}", "upgrade the older side when it suits you"
        )
    return ok("service", told)


def clock(response: httpx.Response, now: datetime) -> Finding:
    """Whether the clock that an answer tells agrees with this machine's at `now`."""
    text = response.headers.get("date")
    if text is None:
        return skipped("clock", "the service does not tell the time")
    skew = parsedate_to_datetime(text) + _COARSE - now
    if abs(skew) <= _COARSE:
        return ok("clock", "the service's clock and this one agree, as far as whole seconds tell")
    where = "ahead" if skew > timedelta() else "behind"
    told = f"the service's clock is about {abs(skew.total_seconds()):.0f} s {where}"
    if abs(skew) > _SKEW:
        return warning("clock", told, "synchronise both clocks (NTP)")
    return ok("clock", told)


def _readiness(remote: Remote) -> Finding:
    try:
        remote.call("GET", "/readyz")
    except RefusedError as error:
        return failed("readiness", str(error), "see the service's log, its disk and its database")
    return ok("readiness", "decisions can be made and stored")


def _access(remote: Remote) -> Finding:
    """Whether calls about runs are answered, with the key of the environment or without one."""
    key = bool(os.environ.get(API_KEY_VARIABLE, "").strip())
    try:
        remote.call("GET", "/runs", params={"limit": "1"})
    except RefusedError as error:
        reason = str(error).partition("; ")[0]
        if key:
            remedy = "export one that `tamiyo keys list` shows as live"
            return failed("access", f"the key of {API_KEY_VARIABLE} is refused: {reason}", remedy)
        remedy = f"export {API_KEY_VARIABLE}=KEY, with a key that `tamiyo keys create` made"
        return warning("access", f"a call without a key is refused: {reason}", remedy)
    return ok(
        "access", f"calls {f'with the key of {API_KEY_VARIABLE}' if key else 'without a key'} are answered"
    )
