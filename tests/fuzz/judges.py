"""What Schemathesis takes for a failure and is none, each with its reason; loaded by it as its hooks.

A request that fits the OpenAPI document may still be refused by a rule that JSON Schema cannot express. Every
such rule is listed here by what its refusal says, so that a rule which nobody wrote down is found.
"""

from __future__ import annotations

import re
from typing import Any, Final

import schemathesis

ACCEPTED_THOUGH_INVALID: Final = "ST201"
REJECTED_THOUGH_VALID: Final = "ST202"
TOO_LARGE: Final = 413
BEYOND_SCHEMA: Final = tuple(
    map(
        re.compile,
        (
            r"repeats? the \w+ .*, which must be unique",
            r"must be at least min_probation_epochs",
            r"but the accuracies say .*; leave it out to have it derived",
            # JSON Schema counts 5.0 among the integers.
            r"must be a whole number from \d+ to \d+, got -?[\d.e+]+$",
            r"^only ndjson has room for explanations$",
            # What may be named depends on what is there.
            r"issued no command .*; quote a command_id",
            r"must be one of cnn, transformer, or an object",
            r"; use some of .*, which topology \w+ has",
            r"; use one of .*, which topology \w+ has",
            r"unknown (action|policy) .*; (valid: |send one of )",
            r"^policy \w+ has version ",
            r"^the learned policy has no version .*; there is ",
            r"^a GERMINATE names no seed; leave it out$",
            r"^(WAIT|CULL|FOSSILIZE) needs a live seed of the last report: ",
            r"^the last attempt of run \S+ is \d+$",
            # Opaque: they come from answers.
            r"^cursor is not the next_cursor of a page",
            r"^(since_id|last-event-id) is no id of an event, got .*; send back one as it came",
            # Calendar and clock: a format is no promise that such a moment exists.
            r"must be a time with its offset|must lie in the years 1 to 9999|valid datetime",
            # JSON can write halves of characters.
            r"must be valid Unicode text",
            r"^a run id has 1–128 letters",
        ),
    )
)
"""Of refusals that no schema announces."""


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failure is one."""
    if failure.code == REJECTED_THOUGH_VALID and response.status_code == 422:
        return not _is_beyond_schema(response.json())
    if response.status_code == TOO_LARGE and failure.code in (ACCEPTED_THOUGH_INVALID, REJECTED_THOUGH_VALID):
        # No schema tells how long a whole request may be.
        return False
    if failure.code == ACCEPTED_THOUGH_INVALID and case.operation.label == "POST /epochs":
        # Every report is refused for itself.
        return not any(result["problem"] for result in response.json()["results"])
    return True


def _is_beyond_schema(problem: dict[str, Any]) -> bool:
    told = [error["message"] for error in problem.get("errors", [])] or [problem["detail"]]
    return all(any(rule.search(message) for rule in BEYOND_SCHEMA) for message in told)


@schemathesis.check
def refusals_are_problems(ctx: Any, response: Any, case: Any) -> None:
    """Every refusal is a problem document whose code is documented for its operation."""
    if response.status_code < 400:
        return
    problem = response.json()
    assert problem["status"] == response.status_code, problem
    documented = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    codes = documented.get("description", "").removeprefix("Refused: ").rstrip(".").split(", ")
    # Paths and methods that are not there belong to no operation.
    known = {*codes, "not_found", "method_not_allowed"}
    assert problem["code"] in known, f"{problem['code']} is not documented: {codes}"


@schemathesis.check
def answers_tell_their_version(ctx: Any, response: Any, case: Any) -> None:
    """Every answer names the version of Leyline."""
    assert response.headers.get("tamiyo-leyline"), response.headers
