"""The page's session: a browser signs in with a key, and from then on has a cookie that no script can read.

What the cookie holds is random and, like a key, kept by the store only as its hash: any process knows it, and
signing out ends it everywhere.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field, SecretStr
from tamiyo_leyline.fields import Answer
from tamiyo_leyline.fields import Request as Leyline

from tamiyo_service.api.bodies import JsonBody
from tamiyo_service.api.queries import NO_PARAMETERS
from tamiyo_service.api.schemas import problems
from tamiyo_service.api.services import Wired
from tamiyo_service.auth.audit import AUDITED
from tamiyo_service.auth.caller import ADMISSION, Admission, Caller, Scope
from tamiyo_service.auth.guard import PAGE_HEADER, cookie_name, require_page, session_token
from tamiyo_service.auth.ring import KeyRing
from tamiyo_service.auth.tokens import digest_of, new_token
from tamiyo_service.clock import from_micros, to_micros
from tamiyo_service.errors import UnauthorizedError
from tamiyo_service.store.keys import SessionRow

router = APIRouter(tags=["session"])

_LASTS: Final = timedelta(hours=12)
_MOST_OF_A_KEY: Final = 256
"""Characters; ours have 50."""


class SignIn(Leyline):
    """A browser signs in."""

    key: SecretStr = Field(description="An API key.", max_length=_MOST_OF_A_KEY)


class SessionView(Answer):
    """Who uses the page."""

    required: bool = Field(
        description="Whether keys are required at all; if not, everybody may do everything."
    )
    name: str | None = Field(description="Name of the key; null where none is required.")
    scope: Scope = Field(description="What the key is for.")
    prefixes: tuple[str, ...] = Field(description="How the ids of its runs begin; empty: any run.")
    expires_at: datetime | None = Field(description="When the session ends, UTC; null where there is none.")


SIGN_IN: Final = JsonBody(SignIn, secret=True)
SignInBody = Annotated[SignIn, Depends(SIGN_IN)]


@router.post(
    "/session",
    dependencies=NO_PARAMETERS,
    status_code=201,
    openapi_extra=SIGN_IN.documented(),
    responses=problems(),
)
async def sign_in(request: Request, response: Response, body: SignInBody, services: Wired) -> SessionView:
    """Exchange a key for a session: a cookie for the page, which ends after twelve hours or with the key."""
    require_page(_page(request))
    if services.ring is None:
        return _view(None, None)
    request.scope[AUDITED] = "sign_in"
    admission = await services.ring.find(digest_of(body.key.get_secret_value().encode()))
    if admission is None or admission.session:
        raise UnauthorizedError("nobody has this key: it is unknown, revoked or expired")
    request.scope[ADMISSION] = admission
    services.guard.count_sign_in(admission)
    moment, token = services.clock(), new_token()
    now, ends_at = to_micros(moment), to_micros(moment + _LASTS)
    if admission.ends_at is not None:
        ends_at = min(ends_at, admission.ends_at)
    row = SessionRow(digest_of(token.encode()), admission.caller.key_id, now, ends_at)
    await services.store.keys.begin_session(row)
    _set_cookie(request, response, token, (ends_at - now) // 1_000_000)
    return _view(admission.caller, ends_at)


@router.get("/session", dependencies=NO_PARAMETERS, responses=problems(body=False))
async def show_session(request: Request, services: Wired) -> SessionView:
    """Tell who uses the page; 401 where a key is required and nobody has signed in."""
    if services.ring is None:
        return _view(None, None)
    admission = await _session(request, services.ring)
    if admission is None:
        raise UnauthorizedError("nobody has signed in, or the session has ended")
    return _view(admission.caller, admission.ends_at)


@router.delete("/session", dependencies=NO_PARAMETERS, status_code=204, responses=problems(body=False))
async def sign_out(request: Request, response: Response, services: Wired) -> None:
    """End the session, everywhere. Without one there is nothing to do."""
    require_page(_page(request))
    admission = None if services.ring is None else await _session(request, services.ring)
    if services.ring is not None and admission is not None:
        request.scope[AUDITED], request.scope[ADMISSION] = "sign_out", admission
        await services.store.keys.end_session(admission.digest)
        services.ring.forget(admission.digest)
    _set_cookie(request, response, "", 0)


async def _session(request: Request, ring: KeyRing) -> Admission | None:
    token = session_token(request.scope)
    admission = None if token is None else await ring.find(digest_of(token))
    return admission if admission is not None and admission.session else None


def _page(request: Request) -> bytes | None:
    value = request.headers.get(PAGE_HEADER.decode())
    return None if value is None else value.encode("latin-1")


def _set_cookie(request: Request, response: Response, token: str, seconds: int) -> None:
    response.set_cookie(
        cookie_name(request.scope),
        token,
        max_age=seconds,
        path="/",
        secure=request.scope["scheme"] == "https",
        httponly=True,
        samesite="strict",
    )


def _view(caller: Caller | None, ends_at: int | None) -> SessionView:
    return SessionView(
        required=caller is not None,
        name=None if caller is None else caller.name,
        scope=Scope.ADMIN if caller is None else caller.scope,
        prefixes=() if caller is None else caller.prefixes,
        expires_at=None if ends_at is None else from_micros(ends_at),
    )
