from __future__ import annotations

from tamiyo_leyline import Problem, ProblemCode
from tamiyo_leyline.problem import RETRYABLE, STATUS_OF

CONTRACT = {
    401: {"unauthorized"},
    403: {"forbidden"},
    404: {"run_not_found", "decision_not_found", "model_not_found", "not_found"},
    405: {"method_not_allowed"},
    413: {"payload_too_large"},
    415: {"unsupported_media_type"},
    409: {
        "run_exists",
        "epoch_conflict",
        "stale_epoch",
        "attempt_conflict",
        "run_completed",
        "model_rejected",
    },
    422: {
        "invalid_report",
        "invalid_config",
        "invalid_query",
        "invalid_run_id",
        "invalid_request",
        "unknown_topology",
        "unknown_blueprint",
        "unknown_command",
        "no_artifact",
        "leyline_mismatch",
    },
    429: {"rate_limited"},
    503: {"overloaded", "store_unavailable", "shutting_down"},
    500: {"internal_error"},
}


def test_every_code_has_the_status_of_the_contract() -> None:
    by_status: dict[int, set[str]] = {}
    for code, status in STATUS_OF.items():
        by_status.setdefault(status, set()).add(code.value)
    assert by_status == CONTRACT


def test_no_code_lacks_a_status() -> None:
    assert set(STATUS_OF) == set(ProblemCode)


def test_exactly_the_refusals_of_load_and_shutdown_are_worth_a_retry() -> None:
    assert {code for code, status in STATUS_OF.items() if status in (429, 503)} == RETRYABLE


def test_problem_is_written_with_its_code() -> None:
    problem = Problem(title="Run not found", status=404, detail="no such run", code=ProblemCode.RUN_NOT_FOUND)
    assert problem.model_dump(mode="json")["code"] == "run_not_found"
