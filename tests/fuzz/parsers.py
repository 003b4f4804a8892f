"""What Leyline's parsers must do with any bytes: refuse them in words, or take them and give them back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json
from tamiyo_leyline import AdaptationCommand, DecisionReply, EpochReport, ProblemCode, RunConfig
from tamiyo_leyline.api import BatchItem, ClientDecision, LabelsRequest, RewindRequest
from tamiyo_leyline.command import command_for
from tamiyo_leyline.enums import ActionKind
from tamiyo_leyline.validation import MAX_FIELD_ERRORS, field_errors, problem_code
from tamiyo_service.api.cursor import decode_cursor
from tamiyo_service.api.elements import report_elements
from tamiyo_service.api.queries import DecisionQuery
from tamiyo_service.errors import InvalidQueryError, InvalidReportError
from tamiyo_service.live.marks import parse_mark

from tests.service.samples import report, seed

_LONGEST: Final = 1_000
"""Characters of one message, at most: what was sent is not sent back."""
_COMMAND: Final = json.loads(
    command_for(
        ActionKind.GERMINATE,
        command_id="run@0.9.1",
        issued_at=datetime(2026, 1, 31, tzinfo=UTC),
        epoch=9,
        reason="a plateau",
        confidence=0.5,
        blueprint_id="norm",
    ).model_dump_json()
)
_REPORT: Final = report(
    3,
    train_loss="NaN",
    seeds=[
        seed(
            previous_stage="GERMINATED",
            alpha=0.5,
            metrics={"initial_val_accuracy": 10.0, "current_val_accuracy": 12.5, "total_improvement": 2.5},
            telemetry={"gradient_norm": 1.0, "has_vanishing": False},
            annotations={"key": "value"},
        )
    ],
    outcomes=[{"command_id": "run@0.2.1", "status": "EXECUTED", "detail": "done"}],
)
_REPLY: Final = {
    "run_id": "run", "attempt": 0, "epoch": 9, "decision_id": "run@0.9", "commands": [_COMMAND],
    "policy": {"name": "heuristic", "version": "1", "sha256": None},
}  # fmt: skip


def judge_schema(schema: type[BaseModel], data: bytes) -> None:
    """Read `data` as a schema; whatever is taken is written and read again, and is the same."""
    try:
        value = schema.model_validate_json(data)
    except ValidationError as error:
        judge_refusal(error)
        return
    written = value.model_dump_json()
    again = schema.model_validate_json(written)
    # Not compared as values: a NaN is not equal to itself.
    assert again.model_dump_json() == written, (data, written)
    judge_python(schema, written)


def judge_python(schema: type[BaseModel], written: str) -> None:
    """What was written is JSON to everybody, also to readers that know no NaN."""

    def refuse(constant: str) -> object:
        raise AssertionError(f"{schema.__name__} writes {constant}: {written}")

    json.loads(written, parse_constant=refuse)


def judge_refusal(error: ValidationError) -> None:
    """A refusal has a code and says in a few printable words what is wrong."""
    assert problem_code(error, ProblemCode.INVALID_REQUEST) in ProblemCode
    faults = field_errors(error)
    assert 0 < len(faults) <= MAX_FIELD_ERRORS + 1
    for fault in faults:
        assert fault.message
        assert len(fault.message) <= _LONGEST, fault.message
        assert (fault.field + fault.message).isprintable(), fault


def judge_batch(data: bytes) -> None:
    """A batch is refused, or cut into the elements that any other parser finds in it."""
    try:
        elements = asyncio.run(report_elements(data))
    except (InvalidReportError, ValidationError):
        return
    try:
        cut = [from_json(element) for element in elements]
    except ValueError:
        # Reading the elements, which comes next, refuses it.
        return
    # As text: a NaN is not equal to itself.
    assert repr(from_json(data)) == repr({"reports": cut}), data


def judge_query(data: bytes) -> None:
    """A cursor and the id of an event are known or refused."""
    text = data.decode("latin-1")
    mark = parse_mark(text)
    assert mark is None or parse_mark(str(mark)) == mark
    try:
        decode_cursor(text, DecisionQuery(), length=2)
    except InvalidQueryError:
        return


def _of(schema: type[BaseModel]) -> Callable[[bytes], None]:
    TypeAdapter(schema)
    return lambda data: judge_schema(schema, data)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "report": _of(EpochReport),
    "config": _of(RunConfig),
    "command": _of(AdaptationCommand),
    "reply": _of(DecisionReply),
    "item": _of(BatchItem),
    "client-decision": _of(ClientDecision),
    "labels": _of(LabelsRequest),
    "rewind": _of(RewindRequest),
    "batch": judge_batch,
    "query": judge_query,
}
"""What is fuzzed, by name."""

SAMPLES: Final[dict[str, Any]] = {
    "report": _REPORT,
    "config": json.loads(RunConfig(labels={"team": "vision"}).model_dump_json()) | {"topology": "cnn"},
    "command": _COMMAND,
    "reply": _REPLY,
    "item": {"run_id": "run", "report": _REPORT},
    "client-decision": {"epoch": 1, "attempt": 0, "commands": [_COMMAND], "reason": "alone"},
    "labels": {"labels": {"team": "vision"}, "by": "somebody"},
    "rewind": {"to_epoch": 3, "attempt": 1},
    "batch": {"reports": [{"run_id": "run", "report": _REPORT}, 7, "a,]"]},
    "query": [1, 2, "0123456789abcdef"],
}
"""One valid document of each, to begin with."""
