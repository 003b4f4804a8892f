"""The guard: at the border, lets in who has a key or a session, within their limits."""

from __future__ import annotations

import re
from collections.abc import Awaitable, MutableMapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from tamiyo_leyline.fields import RUN_ID_PATTERN

from tamiyo_service.auth.access import is_open
from tamiyo_service.auth.caller import ADMISSION, ANYBODY, NOBODY, Admission
from tamiyo_service.auth.limits import Limiter
from tamiyo_service.auth.ring import KeyRing
from tamiyo_service.auth.tokens import digest_of
from tamiyo_service.errors import ForbiddenError, UnauthorizedError

PAGE_HEADER: Final = b"tamiyo-page"
"""What the page sends with everything it does; no page of another origin can, nor any form."""
COOKIE: Final = "tamiyo.cookie"
"""Key of a request's scope: its cookies, which the border takes out of its headers."""
_LOOKING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_RUNS: Final = "/runs/"
_RUN_ID: Final = re.compile(RUN_ID_PATTERN)
_HOW: Final = "send Authorization: Bearer KEY, with a key that `tamiyo keys create` made"


class Presented(NamedTuple):
    """What a request shows at the border."""

    authorization: bytes | None
    page: bytes | None


class Guard:
    """Lets requests in.

    Args:
        ring: knows the keys; None: authentication is off.
        metrics_open: whether everybody may read the metrics.
        per_key: limits what each key sends; None: nothing does.
        per_run: limits what is sent about each run; None: nothing does.
    """

    def __init__(
        self,
        ring: KeyRing | None,
        *,
        metrics_open: bool = False,
        per_key: Limiter | None = None,
        per_run: Limiter | None = None,
    ) -> None:
        self._ring = ring
        self._metrics_open = metrics_open
        self._per_key = per_key
        self._per_run = per_run

    def let_in(self, scope: MutableMapping[str, Any], presented: Presented) -> Awaitable[None] | None:
        """Find out who calls; None: that is done, else it is once the result was awaited.

        Raises:
            UnauthorizedError: if it is nobody known.
            ForbiddenError: if the page's session is used by something that is not the page.
            RateLimitedError: if there were too many requests.
        """
        if self._ring is None:
            self._admit(scope, ANYBODY)
            return None
        authorization = presented.authorization
        if authorization is not None and authorization[:7].lower() == b"bearer ":
            digest = sha256(authorization[7:].strip()).hexdigest()
            admission = self._ring.known(digest)
            if admission is not None and not admission.session:
                self._admit(scope, admission)
                return None
        elif self.is_open(scope["path"]):
            self._admit(scope, NOBODY)
            return None
        else:
            digest = _session_digest(scope, presented)
        return self._let_in_later(scope, digest, self._ring, session=authorization is None)

    async def _let_in_later(
        self, scope: MutableMapping[str, Any], digest: str, ring: KeyRing, *, session: bool
    ) -> None:
        if self.is_open(scope["path"]):
            self._admit(scope, NOBODY)
            return
        admission = await ring.find(digest)
        if admission is None or admission.session is not session:
            raise UnauthorizedError(f"nobody has this key: it is unknown, revoked or expired; {_HOW}")
        self._admit(scope, admission)

    def _admit(self, scope: MutableMapping[str, Any], admission: Admission) -> None:
        scope[ADMISSION] = admission
        if self._per_key is not None and admission.caller.known:
            self._per_key.take(admission.caller.key_id)
        if self._per_run is not None and scope["path"].startswith(_RUNS):
            run_id = scope["path"].split("/", 3)[2]
            # Anything else is refused anyway, and may be long.
            if _RUN_ID.fullmatch(run_id) and admission.caller.may_touch(run_id):
                self._per_run.take(run_id)

    def count_sign_in(self, admission: Admission) -> None:
        """Count a request that came with a key in its body.

        Raises:
            RateLimitedError: if there were too many with that key.
        """
        if self._per_key is not None:
            self._per_key.take(admission.caller.key_id)

    def count_report(self, run_id: str) -> None:
        """Count a report within a request that is not about one run.

        Raises:
            RateLimitedError: if there were too many about that run.
        """
        if self._per_run is not None:
            self._per_run.take(run_id)

    def is_open(self, path: str) -> bool:
        """Whether everybody may call what is at a path."""
        return is_open(path) or (self._metrics_open and path == "/metrics")


def session_token(scope: MutableMapping[str, Any]) -> bytes | None:
    """What the page's cookie holds; None: there is none.

    Cookies of others, which a browser sends along, may hold anything: `http.cookies` leaves out what comes
    after one that it does not understand, and takes seconds for some (CVE-2024-7592).
    """
    begin = f"{cookie_name(scope)}=".encode()
    parts = (part.strip() for part in scope.get(COOKIE, b"").split(b";"))
    ours = [part for part in parts if part.startswith(begin)]
    return ours[-1][len(begin) :] or None if ours else None


def cookie_name(scope: MutableMapping[str, Any]) -> str:
    """The name of the page's cookie: where there is TLS, one that only TLS can set, for this very host."""
    return "__Host-tamiyo" if scope.get("scheme") == "https" else "tamiyo"


def require_page(page: bytes | None) -> None:
    """Return if a request comes from our own page.

    Browsers send cookies by themselves. SameSite=Strict keeps them from requests of other sites, but a site
    is a whole domain: a page on another port or subdomain is of the same. It cannot set this header, though,
    for the service never allows that to another origin (CORS), and a form has no headers at all.

    Raises:
        ForbiddenError: if it does not.
    """
    if page is None:
        raise ForbiddenError("only the service's own page may do this, with its header Tamiyo-Page")


def _session_digest(scope: MutableMapping[str, Any], presented: Presented) -> str:
    if presented.authorization is not None:
        raise UnauthorizedError(f"the authorization header has no bearer key; {_HOW}")
    token = session_token(scope)
    if token is None:
        raise UnauthorizedError(f"this takes a key; {_HOW}")
    if scope["method"] not in _LOOKING:
        require_page(presented.page)
    return digest_of(token)
