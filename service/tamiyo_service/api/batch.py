"""Many reports in one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from tamiyo_leyline import Problem, ProblemCode
from tamiyo_leyline.api import BatchItem, BatchResult, BatchResults

from tamiyo_service.api.bodies import JsonBody
from tamiyo_service.api.calling import Calling
from tamiyo_service.api.elements import Turns, report_elements
from tamiyo_service.api.errors import problem_of
from tamiyo_service.api.queries import NO_PARAMETERS
from tamiyo_service.api.schemas import BatchRequest, problems, require_run_id
from tamiyo_service.api.services import Services, Wired
from tamiyo_service.auth.caller import Caller
from tamiyo_service.errors import InvalidReportError, InvalidRunIdError, RateLimitedError, RunNotFoundError
from tamiyo_service.runs.batches import Refusal
from tamiyo_service.runs.deciding import Reply

router = APIRouter(tags=["trainers"])

BATCH: Final = JsonBody(BatchRequest, ProblemCode.INVALID_REPORT)
_RESULT_BYTES: Final = 1024
"""What one reply weighs, about."""


@router.post(
    "/epochs",
    dependencies=NO_PARAMETERS,
    response_model=BatchResults,
    responses=problems(ProblemCode.INVALID_REPORT),
    openapi_extra=BATCH.documented(),
)
async def report_epochs(request: Request, services: Wired, calling: Calling) -> Response:
    """Report up to 1 024 epochs of any runs; each gets a reply or a problem of its own, in order."""
    items = await _items(await request.body(), _Admission(services, calling))
    reports = [(item.run_id, item.report) for item in items if isinstance(item, BatchItem)]
    answers = iter(await services.batches.answer(reports))
    results, turns = list[str](), Turns()
    for item in items:
        answer = next(answers) if isinstance(item, BatchItem) else item
        if not isinstance(answer, Reply):
            answer = answer if isinstance(answer, Problem) else _problem(answer)
            services.tally.refusals[answer.code] += 1
        results.append(result_json(answer))
        await turns.worked(_RESULT_BYTES)
    return Response(f'{{"results":[{",".join(results)}]}}', media_type="application/json")


async def _items(body: bytes, require_admitted: Callable[[str], None]) -> list[BatchItem | Problem]:
    """The reports of a batch, or the refusal of each.

    Args:
        body: of the request.
        require_admitted: raises if a run may not be reported about.

    Raises:
        InvalidReportError: if the body is no batch at all.
    """
    items, turns = list[BatchItem | Problem](), Turns()
    for number, element in enumerate(await report_elements(body)):
        # An error holds what it complains about: it is turned into words at once.
        item = _item(element, number, require_admitted)
        items.append(item if isinstance(item, BatchItem) else _problem(item))
        await turns.worked(len(element))
    return items


def _item(element: bytes, number: int, require_admitted: Callable[[str], None]) -> BatchItem | Refusal:
    try:
        item = BatchItem.model_validate_json(element)
        require_run_id(item.run_id)
        require_admitted(item.run_id)
    except ValidationError as error:
        broken = error.error_count() == 1 and error.errors(include_url=False)[0]["type"] == "json_invalid"
        if broken:
            message = f"the body is not valid JSON: {error.errors(include_url=False)[0]['msg']}"
            raise InvalidReportError(message, field=f"reports.{number}") from error
        return error
    except (InvalidRunIdError, RunNotFoundError, RateLimitedError) as error:
        return error
    return item


class _Admission:
    """Lets the reports of one batch in.

    Args:
        services: count them.
        caller: who sends the batch.
    """

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services = services
        self._caller = caller
        self._refused: dict[str, RateLimitedError] = {}

    def __call__(self, run_id: str) -> None:
        """Return if a run may be reported about.

        Raises:
            RunNotFoundError: if the caller's key is not for it.
            RateLimitedError: if too much is reported about it, now or earlier in the batch: once a later
                epoch is decided, the refused one never can be.
        """
        self._caller.require_run(run_id)
        earlier = self._refused.get(run_id)
        if earlier is not None:
            raise RateLimitedError(earlier.message, earlier.seconds)
        try:
            self._services.guard.count_report(run_id)
        except RateLimitedError as error:
            self._refused[run_id] = RateLimitedError(error.message, error.seconds)
            raise


def result_json(answer: Reply | Refusal | Problem) -> str:
    """What `BatchResult.model_dump_json` gives; a reply is nested as it was stored."""
    if isinstance(answer, Reply):
        replayed = "true" if answer.replayed else "false"
        return f'{{"status":200,"reply":{answer.body},"problem":null,"replayed":{replayed}}}'
    document = answer if isinstance(answer, Problem) else _problem(answer)
    return BatchResult(status=document.status, problem=document).model_dump_json()


def _problem(refusal: Refusal) -> Problem:
    return problem_of(refusal, ProblemCode.INVALID_REPORT)
