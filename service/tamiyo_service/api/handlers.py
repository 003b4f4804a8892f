"""What FastAPI and Starlette raise, turned into problem documents."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from tamiyo_leyline import ProblemCode

from tamiyo_service.api.bodies import UnreadableBodyError
from tamiyo_service.api.border import TOLD
from tamiyo_service.api.errors import (
    internal_problem,
    problem,
    problem_of,
    problem_response,
    refusal_headers,
)
from tamiyo_service.errors import TamiyoError

_METHODS: Final = ("GET", "HEAD", "PUT", "POST", "DELETE")
_CODE_OF_STATUS: Final = {
    404: ProblemCode.NOT_FOUND,
    405: ProblemCode.METHOD_NOT_ALLOWED,
    413: ProblemCode.PAYLOAD_TOO_LARGE,
}


def install(app: FastAPI) -> None:
    """Give every error that may reach FastAPI its problem document."""
    app.add_exception_handler(TamiyoError, _refused)
    app.add_exception_handler(ValidationError, _refused)
    app.add_exception_handler(UnreadableBodyError, _unreadable)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, TamiyoError | ValidationError)
    return problem_response(problem_of(error, ProblemCode.INVALID_REQUEST), refusal_headers(error))


async def _unreadable(_request: Request, error: Exception) -> Response:
    assert isinstance(error, UnreadableBodyError)
    return problem_response(problem_of(error.reason, error.code))


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    return problem_response(problem_of(_validation_error(faults), ProblemCode.INVALID_QUERY))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODE_OF_STATUS.get(error.status_code, ProblemCode.INVALID_REQUEST)
    headers = {"Allow": ", ".join(_allowed(request))} if code is ProblemCode.METHOD_NOT_ALLOWED else {}
    return problem_response(problem(code, _detail(code, request, headers)), headers)


async def _defect(request: Request, error: Exception) -> Response:
    """Answered by the framework's outermost layer, which raises the error again afterwards."""
    request.scope[TOLD] = True
    return problem_response(internal_problem(error, request.path_params.get("run_id")))


def _allowed(request: Request) -> list[str]:
    """The methods that the request's path takes."""
    scopes = {method: {**request.scope, "method": method} for method in _METHODS}
    return [
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)
    ]


def _detail(code: ProblemCode, request: Request, headers: dict[str, str]) -> str:
    path = ascii(request.url.path)[1:-1]
    if code is ProblemCode.NOT_FOUND:
        return f"there is nothing at {path}; see /openapi.json"
    if code is ProblemCode.METHOD_NOT_ALLOWED:
        return f"{path} does not take {request.method}; use {headers['Allow']}"
    if code is ProblemCode.PAYLOAD_TOO_LARGE:
        return "the body is too large; send less at a time"
    return "the body cannot be read; send well-formed JSON in UTF-8"


def _validation_error(faults: Any) -> ValidationError:
    """FastAPI's list of faults as pydantic's error, without the place (query, path) in front.

    Raising a ValidationError is how the wording of Leyline's refusals is reached.
    """
    details = [
        InitErrorDetails(
            type=PydanticCustomError(fault["type"], fault["msg"], fault.get("ctx")),
            loc=tuple(fault["loc"][1:]),
            input=fault.get("input"),
        )
        for fault in faults
    ]
    return ValidationError.from_exception_data("request", details)
