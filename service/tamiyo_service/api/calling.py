"""How routes get to know who calls."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from tamiyo_service.auth.caller import Caller, caller_of


async def _calling(request: Request) -> Caller:
    return caller_of(request.scope)


Calling = Annotated[Caller, Depends(_calling)]
"""A route's parameter: who calls. Where a name is recorded, record ``calling.signed(told)``."""
