"""Who calls: what an API key, or a session of the page, stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from tamiyo_service.errors import no_such_run

ADMISSION: Final = "tamiyo.admission"
"""Key of a request's scope: its `Admission`, without which no request passes the border."""


class Scope(StrEnum):
    """What a key is for; each may do all that those before it may."""

    TRAINER = "trainer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Scope) -> bool:
        """Whether a key of this scope may do what needs the other."""
        return _RANK[self] >= _RANK[other]


_RANK: Final = {scope: rank for rank, scope in enumerate(Scope)}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        name: of the key; empty: nobody was asked.
        key_id: the public id of the key; empty likewise.
        scope: what the key is for.
        prefixes: how the ids of its runs begin; empty: it may see and touch every run.
    """

    name: str = ""
    key_id: str = ""
    scope: Scope = Scope.ADMIN
    prefixes: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether it is known who calls."""
        return bool(self.key_id)

    def signed(self, told: str | None) -> str | None:
        """Who did it: the key's name; where nobody was asked, whoever the request itself names."""
        return self.name if self.known else told

    def may_touch(self, run_id: str) -> bool:
        """Whether a run is one of the caller's."""
        return not self.prefixes or run_id.startswith(self.prefixes)

    def require_run(self, run_id: str) -> None:
        """Return if a run is one of the caller's.

        Raises:
            RunNotFoundError: if it is not, whether or not there is one; the same as if there were none.
        """
        if self.prefixes and not run_id.startswith(self.prefixes):
            raise no_such_run(run_id)


class Admission(NamedTuple):
    """A caller who was let in."""

    caller: Caller
    digest: str = ""
    """SHA-256 of the key or of the session's token, in hexadecimal digits; empty: nobody was asked."""
    ends_at: int | None = None
    """When the key or the session ends, in microseconds since 1970; None: never."""
    session: bool = False
    """Whether it is a session of the page and not the key itself."""


ANYBODY: Final = Admission(Caller())
"""Whoever calls where authentication is off: may do everything, and has no name."""

NOBODY: Final = Admission(Caller(scope=Scope.TRAINER, prefixes=("/",)))
"""Whoever calls what everybody may call, such as the page's files: no run id begins so."""


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """Who sent the request of this ASGI scope."""
    admission: Admission = scope[ADMISSION]
    return admission.caller
