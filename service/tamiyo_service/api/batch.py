"""Many reports in one request."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from pydantic_core import from_json, to_json
from tamiyo_leyline import DecisionReply, Problem, ProblemCode
from tamiyo_leyline.api import MAX_BATCH_REPORTS, BatchItem, BatchResult, BatchResults

from tamiyo_service.api.bodies import JsonBody
from tamiyo_service.api.errors import problem_of
from tamiyo_service.api.queries import NO_PARAMETERS
from tamiyo_service.api.schemas import BatchRequest, problems, require_run_id
from tamiyo_service.api.services import Wired
from tamiyo_service.errors import InvalidReportError, InvalidRunIdError
from tamiyo_service.runs.intake import Refusal
from tamiyo_service.runs.reports import Reply

router = APIRouter(tags=["trainers"])

BATCH: Final = JsonBody(BatchRequest, ProblemCode.INVALID_REPORT)


@router.post(
    "/epochs",
    dependencies=NO_PARAMETERS,
    response_model=BatchResults,
    responses=problems(ProblemCode.INVALID_REPORT),
    openapi_extra=BATCH.documented(),
)
async def report_epochs(request: Request, services: Wired) -> Response:
    """Report up to 1 024 epochs of any runs; each gets a reply or a problem of its own, in order."""
    items = _items(await request.body())
    valid = [item for item in items if isinstance(item, BatchItem)]
    answers = iter(await services.intake.batch([(item.run_id, item.report) for item in valid]))
    results = [_result(next(answers)) if isinstance(item, BatchItem) else _refused(item) for item in items]
    body = BatchResults(results=tuple(results)).model_dump_json()
    return Response(body, media_type="application/json")


def _items(body: bytes) -> list[BatchItem | Refusal]:
    """The reports of a batch, or what is wrong with each.

    Raises:
        InvalidReportError: if the body is no batch at all.
    """
    try:
        items: list[BatchItem | Refusal] = list(BatchRequest.model_validate_json(body).reports)
    except ValidationError:
        items = [_item(value) for value in _raw_items(body)]
    return [_named(item) if isinstance(item, BatchItem) else item for item in items]


def _named(item: BatchItem) -> BatchItem | Refusal:
    try:
        require_run_id(item.run_id)
    except InvalidRunIdError as error:
        return error
    return item


def _raw_items(body: bytes) -> list[Any]:
    try:
        data = from_json(body)
    except ValueError as error:
        raise InvalidReportError(f"the body must be valid JSON: {error}") from error
    reports = data.get("reports") if isinstance(data, dict) and set(data) == {"reports"} else None
    if not isinstance(reports, list):
        raise InvalidReportError('the body must be {"reports": […]}', field="reports")
    if len(reports) > MAX_BATCH_REPORTS:
        raise InvalidReportError(
            f"must have at most {MAX_BATCH_REPORTS} entries, got {len(reports)}; send less at a time",
            field="reports",
        )
    return reports


def _item(value: Any) -> BatchItem | ValidationError:
    try:
        return BatchItem.model_validate_json(to_json(value))
    except ValidationError as error:
        return error


def _result(answer: Reply | Refusal) -> BatchResult:
    if not isinstance(answer, Reply):
        return _refused(answer)
    # Parsed once more only to be nested: what is stored is what the single route would have sent.
    reply = DecisionReply.model_validate_json(answer.body)
    return BatchResult(status=200, reply=reply, replayed=answer.replayed)


def _refused(refusal: Refusal) -> BatchResult:
    document: Problem = problem_of(refusal, ProblemCode.INVALID_REPORT)
    return BatchResult(status=document.status, problem=document)
