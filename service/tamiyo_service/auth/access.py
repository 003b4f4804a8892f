"""What each route takes: the one table of routes and scopes. What is not in it, nobody may call.

Keys that are confined to runs with certain prefixes are refused by `confined`: another's run is not there for
them, and what is about all runs at once they may not call.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple

from tamiyo_service.auth.caller import Caller, Scope
from tamiyo_service.errors import ForbiddenError, no_such_run


class Reach(Enum):
    """What a route is about, as far as keys with prefixes are concerned."""

    OWN = auto()
    """One run, which is another's or the caller's; or a list, which holds the caller's alone."""
    CREATES = auto()
    """One run, which it creates: the refusal may say which ids would do."""
    WHOLE = auto()
    """Everything at once: keys with prefixes may not call it."""


class Access(NamedTuple):
    """What a route takes."""

    scope: Scope | None
    """None: everybody may call it, with or without a key."""
    audited: str = ""
    """What the audit log calls it; empty: it does not mention it."""
    reach: Reach = Reach.OWN


_OPEN: Final = Access(None)
_TRAINER: Final = Access(Scope.TRAINER)
_OPERATOR: Final = Access(Scope.OPERATOR)

ROUTES: Final[dict[tuple[str, str], Access]] = {
    ("GET", "/healthz"): _OPEN,
    ("GET", "/readyz"): _OPEN,
    ("GET", "/openapi.json"): _OPEN,
    ("GET", "/docs"): _OPEN,
    ("GET", "/docs/oauth2-redirect"): _OPEN,
    ("GET", "/"): _OPEN,
    ("GET", "/ui/{_place:path}"): _OPEN,
    ("GET", "/page/{digest}/{name}"): _OPEN,
    ("GET", "/session"): _OPEN,
    ("POST", "/session"): _OPEN,
    ("DELETE", "/session"): _OPEN,
    ("PUT", "/runs/{run_id}"): Access(Scope.TRAINER, reach=Reach.CREATES),
    ("POST", "/runs/{run_id}/epoch"): _TRAINER,
    ("POST", "/epochs"): _TRAINER,
    ("POST", "/runs/{run_id}/rewind"): _TRAINER,
    ("POST", "/runs/{run_id}/commands/{command_id}/outcome"): _TRAINER,
    ("POST", "/runs/{run_id}/client-decisions"): _TRAINER,
    ("POST", "/runs/{run_id}/complete"): _TRAINER,
    ("GET", "/runs"): _TRAINER,
    ("GET", "/runs/{run_id}"): _TRAINER,
    ("GET", "/runs/{run_id}/decisions"): _TRAINER,
    ("GET", "/runs/{run_id}/decisions/{epoch}"): _TRAINER,
    ("GET", "/runs/{run_id}/field-reports"): _TRAINER,
    ("GET", "/runs/{run_id}/notes"): _TRAINER,
    ("GET", "/runs/{run_id}/series"): _TRAINER,
    ("GET", "/decisions"): _TRAINER,
    ("GET", "/fleet"): _TRAINER,
    ("GET", "/models"): _TRAINER,
    ("GET", "/policies"): _TRAINER,
    ("PUT", "/runs/{run_id}/hold"): Access(Scope.OPERATOR, "hold"),
    ("DELETE", "/runs/{run_id}/hold"): Access(Scope.OPERATOR, "release"),
    ("POST", "/runs/{run_id}/override"): Access(Scope.OPERATOR, "override"),
    ("DELETE", "/runs/{run_id}/override"): Access(Scope.OPERATOR, "override_withdrawn"),
    ("POST", "/runs/{run_id}/policy"): Access(Scope.OPERATOR, "policy"),
    ("POST", "/runs/{run_id}/notes"): Access(Scope.OPERATOR, "note"),
    ("PUT", "/runs/{run_id}/labels"): Access(Scope.OPERATOR, "labels"),
    ("DELETE", "/runs/{run_id}"): Access(Scope.OPERATOR, "delete"),
    ("POST", "/runs/{run_id}/replay"): Access(Scope.OPERATOR, "replay"),
    ("GET", "/runs/{run_id}/events"): _OPERATOR,
    ("GET", "/runs/{run_id}/export"): _OPERATOR,
    ("GET", "/events"): _OPERATOR,
    ("GET", "/export"): _OPERATOR,
    ("GET", "/metrics"): Access(Scope.OPERATOR, reach=Reach.WHOLE),
    ("POST", "/models/{name}/{version}/activate"): Access(Scope.ADMIN, "activate", Reach.WHOLE),
}
"""By method and path, as the router knows it; HEAD is GET."""

_OPEN_PATHS: Final = frozenset(path for (_, path), access in ROUTES.items() if access.scope is None)
_OPEN_FOLDERS: Final = ("/ui/", "/page/", "/docs/")


def access_to(method: str, path: str) -> Access | None:
    """What a route takes; None: it is in no table."""
    return ROUTES.get(("GET" if method == "HEAD" else method, path))


def is_open(path: str) -> bool:
    """Whether everybody may call what is at a path."""
    return path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS)


def require_scope(caller: Caller, access: Access) -> None:
    """Return if a caller's key is for what a route does.

    Raises:
        ForbiddenError: if it is not.
    """
    if access.scope is not None and not caller.scope.includes(access.scope):
        raise ForbiddenError(
            f"this takes a key of scope {access.scope}; the key {caller.name!a} has scope {caller.scope}"
        )
    if access.reach is Reach.WHOLE and caller.prefixes:
        raise ForbiddenError(f"this concerns all runs; {_own(caller)}")


def require_run(caller: Caller, access: Access, run_id: str) -> None:
    """Return if a run is one of the caller's.

    Raises:
        RunNotFoundError: if it is not, whether or not there is one.
        ForbiddenError: if the caller wanted to create it.
    """
    if caller.may_touch(run_id):
        return
    if access.reach is Reach.CREATES:
        raise ForbiddenError(f"the run id must begin otherwise: {_own(caller)}", field="run_id")
    raise no_such_run(run_id)


def _own(caller: Caller) -> str:
    return f"the key {caller.name!a} is for runs that begin with {' or '.join(caller.prefixes)}"
