"""The audit log: who did what that needs more than a trainer's key, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import structlog

from tamiyo_service.auth.caller import caller_of
from tamiyo_service.observability.sparing import Sparing

AUDITED: Final = "tamiyo.audited"
"""Key of a request's scope: what the audit log calls it."""
REASON: Final = "tamiyo.reason"
"""Key of a request's scope: why, in the words of whoever sent it."""
_QUIET_SECONDS: Final = 1.0
_NAME: Final = "tamiyo.audit"
"""Of the logger, which is looked up for every entry: it stays as the process is set up by then."""


def audit_local(action: str, by: str, **about: Any) -> None:
    """Write an entry about something that was done on the service's own machine.

    Args:
        action: what.
        by: who.
        about: more about it.
    """
    structlog.get_logger(_NAME).info("audit", action=action, by=by, **about)


def audit(scope: MutableMapping[str, Any], status: int) -> None:
    """Write an entry about a request that was answered.

    Args:
        scope: of the request.
        status: of the answer; 0: there was none.
    """
    caller = caller_of(scope)
    structlog.get_logger(_NAME).info(
        "audit",
        action=scope[AUDITED],
        by=caller.name or None,
        key=caller.key_id or None,
        done=0 < status < 400,
        status=status,
        path=scope["path"],
        reason=scope.get(REASON),
        client=_client(scope),
    )


class Strangers:
    """Tells of requests that came from nobody known.

    Whoever tries out keys must not fill the log: there is one entry a second at most, and the next says how
    many went untold.

    Args:
        monotonic: seconds since whenever.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._sparing = Sparing(_QUIET_SECONDS, monotonic)

    def tell(self, scope: MutableMapping[str, Any]) -> None:
        """Write an entry about a request, unless there was one just now."""
        untold = self._sparing.due("unauthorized")
        if untold is None:
            return
        structlog.get_logger(_NAME).info(
            "audit",
            action="unauthorized",
            by=None,
            done=False,
            status=401,
            path=scope["path"],
            client=_client(scope),
            untold=untold,
        )


def _client(scope: MutableMapping[str, Any]) -> str | None:
    """The address that a request came from."""
    client = scope.get("client")
    return client[0] if client else None
