"""Annotated types shared by the wire's schemas: identifiers, counts, losses, accuracies, text."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self, get_type_hints

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    GetPydanticSchema,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from tamiyo_leyline.constraints import Explained, WholeNumber
from tamiyo_leyline.enums import CommandStatus, RiskLevel, SeedStage, member_of

MAX_SEEDS: Final = 64
MAX_LABELS: Final = 32
MAX_COUNT: Final = 2**53 - 1
"""Largest count on the wire: what every JSON reader holds exactly."""
RUN_ID_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,128}$"

_set: Final = object.__setattr__
"""Past the guard of frozen models."""
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Request(BaseModel):
    """What a trainer or operator sends: immutable, exact types, unknown fields refused."""

    # Validators are built when a schema is first used: a process pays only for those it uses.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, ser_json_inf_nan="strings", defer_build=True
    )


class Answer(BaseModel):
    """What the service sends: immutable; a reader ignores fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings", defer_build=True)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Read an answer; unknown fields are ignored in the reports and configurations inside it too.

        Raises:
            pydantic.ValidationError: if it is no such answer.
        """
        return super().model_validate_json(json_data, **({"extra": "ignore"} | options))

    @classmethod
    def assembled(cls, values: dict[str, Any]) -> Self:
        """An answer of values that are known to be right: nothing is checked.

        Some five times as fast as the constructor; for what a service makes by itself with every report.

        Args:
            values: of every field, by name, as validation would leave them. They become the answer's own.
        """
        answer = cls.__new__(cls)
        _set(answer, "__dict__", values)
        _set(answer, "__pydantic_fields_set__", set(values))
        _set(answer, "__pydantic_extra__", None)
        _set(answer, "__pydantic_private__", None)
        return answer


class _AsObject:
    """Lets a NamedTuple travel as a JSON object instead of an array."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        fields = {
            name: core_schema.typed_dict_field(handler.generate_schema(_described(hint)))
            for name, hint in get_type_hints(source, include_extras=True).items()
        }
        schema = core_schema.typed_dict_schema(fields, extra_behavior="ignore")
        return core_schema.no_info_before_validator_function(
            _to_dict,
            core_schema.no_info_after_validator_function(lambda data: source(**data), schema),
            serialization=core_schema.plain_serializer_function_ser_schema(_to_dict, return_schema=schema),
        )


class _Description:
    """Keeps a description where a type brings its own JSON schema."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"description": self.text}


def _described(hint: Any) -> Any:
    metadata = getattr(hint, "__metadata__", ())
    texts = [field.description for field in metadata if isinstance(field, FieldInfo) and field.description]
    return Annotated[hint, _Description(texts[-1])] if texts else hint


def _to_dict(value: Any) -> Any:
    return value._asdict() if hasattr(value, "_asdict") else value


AS_OBJECT: Final = _AsObject()
"""Annotation: ``Annotated[SomeNamedTuple, AS_OBJECT]`` is an object in a `Request` or `Answer`."""


def _loss(value: object) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    raise ValueError


class _OrNotFinite:
    """Annotation of a number that may be written as one of three words; a number costs no call."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        number = handler(source)
        words = core_schema.no_info_plain_validator_function(_loss)
        return core_schema.union_schema(
            [number, words], mode="left_to_right", serialization=core_schema.simple_ser_schema("float")
        )


Loss = Annotated[
    float,
    _OrNotFinite(),
    Explained("loss", 'must be a number, null, or one of the strings "NaN", "Infinity", "-Infinity"'),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(_NOT_FINITE)}]}),
]
"""A loss in the task's own unit; NaN and infinities are data (the training diverged)."""

Number = Annotated[float, Field(allow_inf_nan=False), Explained("number", "must be a finite number")]
Accuracy = Annotated[
    float,
    Field(ge=0.0, le=100.0, allow_inf_nan=False),
    Explained("accuracy", "must be between 0 and 100 (percent)"),
]
"""Percent, 0–100."""
Points = Annotated[
    float,
    Field(ge=-1e300, le=1e300, allow_inf_nan=False),
    Explained("points", "must be a finite number, in percentage points"),
]
"""A difference of accuracies in percentage points (objective val_loss: percent of the reference loss)."""
Probability = Annotated[
    float,
    Field(ge=0.0, le=1.0, allow_inf_nan=False),
    Explained("probability", "must be between 0 and 1"),
]
NonNegative = Annotated[
    float,
    Field(ge=0.0, allow_inf_nan=False),
    Explained("non_negative", "must be a finite number, 0 or more"),
]


Count = Annotated[int, WholeNumber(0, MAX_COUNT)]

_PRINTABLE: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"

Identifier = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=_PRINTABLE),
    Explained("identifier", "must be a string of 1 to 128 characters without control characters"),
]
"""A seed's or slot's name: 1–128 characters, no control characters."""
CommandId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=_PRINTABLE),
    Explained("command_id", "must be a string of 1 to 200 characters without control characters"),
]
"""A command's id. The service makes it of the run's id, the attempt, the epoch and a number, so it has room
for the longest of each: 128, 16, 16 and 3 characters with a mark between them, and some to spare."""
Text = Annotated[
    str,
    StringConstraints(max_length=2000, pattern=r"^[^\x00]*$"),
    Explained("text", "must be a string of at most 2000 characters without NUL"),
]
"""Free text up to 2 000 characters."""
Note = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$"),
    Explained("note", "must be a string of 1 to 2000 characters without NUL, not only spaces"),
]
"""An operator's own words about a run."""
OrderReason = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=128,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f\u2028\u2029]*$",
    ),
    Explained(
        "order_reason", "must be a string of 1 to 128 characters without control characters, not only spaces"
    ),
]
"""Why an operator orders something: a line that stands with every decision it leads to."""
MAX_REASON: Final = 8000
Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_REASON),
    Explained("reason", "must be a string of 1 to 8000 characters"),
]
"""Never empty: what an operator reads first."""
RunId = Annotated[
    str,
    StringConstraints(pattern=RUN_ID_PATTERN),
    Explained("invalid_run_id", "must be 1 to 128 letters, digits or any of . _ : -"),
]
BlueprintName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_]+$", to_lower=True),
    Explained("blueprint_name", "must be 1 to 64 letters, digits or underscores"),
]
"""A blueprint's name, folded to lower case at the border."""
Label = Identifier
"""A key of labels or annotations."""
Annotations = Annotated[
    dict[Label, Text], Field(max_length=MAX_LABELS, json_schema_extra={"additionalProperties": False})
]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must lie in the years 1 to 9999, UTC") from error


Timestamp = Annotated[
    AwareDatetime,
    Explained("timestamp", "must be a time with its offset, such as 2026-01-31T12:00:00Z"),
    AfterValidator(_in_utc),
]
"""UTC, ISO 8601; other offsets are converted."""


def _stage(value: object) -> SeedStage:
    return member_of(SeedStage, value)


def _risk(value: object) -> RiskLevel:
    return member_of(RiskLevel, value)


def _name_of(member: SeedStage | RiskLevel) -> str:
    # Not `name`: until Python 3.12 that is a property written in Python.
    return member._name_


def _by_name(enumeration: type[SeedStage] | type[RiskLevel]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(enumeration.__members__)}, mode="serialization")


def _by_name_or_value(enumeration: type[SeedStage] | type[RiskLevel]) -> WithJsonSchema:
    names = {"type": "string", "enum": list(enumeration.__members__)}
    values = {"type": "integer", "enum": [member.value for member in enumeration]}
    return WithJsonSchema({"anyOf": [names, values]}, mode="validation")


StageName = Annotated[
    SeedStage,
    PlainValidator(_stage),
    PlainSerializer(_name_of, when_used="json"),
    _by_name(SeedStage),
    _by_name_or_value(SeedStage),
]
RiskName = Annotated[
    RiskLevel,
    PlainValidator(_risk),
    PlainSerializer(_name_of, when_used="json"),
    _by_name(RiskLevel),
    _by_name_or_value(RiskLevel),
]
_ANSWERS: Final = tuple(status for status in CommandStatus if status is not CommandStatus.ISSUED)
KnownOutcome = Annotated[
    CommandStatus,
    GetPydanticSchema(lambda source, handler: handler.generate_schema(Literal[_ANSWERS])),
    Explained("known_outcome", f"must be one of {', '.join(_ANSWERS)}"),
]
"""What may become of a command: every status but ISSUED."""
