"""The audit log: who did what that needs more than a trainer's key, and why."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from tamiyo_service.auth.caller import caller_of

AUDITED: Final = "tamiyo.audited"
"""Key of a request's scope: what the audit log calls it."""
REASON: Final = "tamiyo.reason"
"""Key of a request's scope: why, in the words of whoever sent it."""
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
    client = scope.get("client")
    structlog.get_logger(_NAME).info(
        "audit",
        action=scope[AUDITED],
        by=caller.name or None,
        key=caller.key_id or None,
        done=0 < status < 400,
        status=status,
        path=scope["path"],
        reason=scope.get(REASON),
        client=client[0] if client else None,
    )
