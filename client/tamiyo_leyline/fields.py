"""Annotated types shared by the wire's schemas: identifiers, counts, losses, accuracies, text."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, get_type_hints

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from tamiyo_leyline.enums import RiskLevel, SeedStage, member_of

MAX_SEEDS: Final = 64
MAX_COUNT: Final = 2**53 - 1
"""Largest count on the wire: what every JSON reader holds exactly."""
RUN_ID_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,128}$"

_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Request(BaseModel):
    """What a trainer or operator sends: immutable, exact types, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="strings")


class Answer(BaseModel):
    """What the service sends: immutable; a reader ignores fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")


class _AsObject:
    """Lets a NamedTuple travel as a JSON object instead of an array."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        fields = {
            name: core_schema.typed_dict_field(handler.generate_schema(hint))
            for name, hint in get_type_hints(source, include_extras=True).items()
        }
        schema = core_schema.typed_dict_schema(
            fields, extra_behavior="ignore", config=core_schema.CoreConfig(ser_json_inf_nan="strings")
        )
        return core_schema.no_info_before_validator_function(
            _to_dict,
            core_schema.no_info_after_validator_function(lambda data: source(**data), schema),
            serialization=core_schema.wrap_serializer_function_ser_schema(
                lambda value, serialize: serialize(value._asdict()), schema=schema
            ),
        )


def _to_dict(value: Any) -> Any:
    return value._asdict() if hasattr(value, "_asdict") else value


AS_OBJECT: Final = _AsObject()
"""Annotation: ``Annotated[SomeNamedTuple, AS_OBJECT]`` is an object on the wire."""


def _loss(value: object) -> object:
    if isinstance(value, str):
        if value not in _NOT_FINITE:
            raise ValueError('a loss is a number, null, or one of "NaN", "Infinity", "-Infinity"')
        return _NOT_FINITE[value]
    return value


Loss = Annotated[
    float,
    BeforeValidator(_loss),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(_NOT_FINITE)}]}),
]
"""A loss in the task's own unit; NaN and infinities are data (the training diverged)."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Accuracy = Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)]
"""Percent, 0–100."""
Points = Number
"""A difference of accuracies in percentage points (objective val_loss: percent of the reference loss)."""
Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A seed's or slot's name: 1–128 characters, no control characters."""
Text = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
"""Free text up to 2 000 characters."""
Reason = Annotated[str, StringConstraints(min_length=1, max_length=8000)]
"""Never empty: what an operator reads first."""
RunId = Annotated[str, StringConstraints(pattern=RUN_ID_PATTERN)]
BlueprintName = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_]+$", to_lower=True)
]
"""A blueprint's name, folded to lower case at the border."""
Label = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Annotations = Annotated[dict[Label, Text], Field(max_length=32)]
Timestamp = AwareDatetime
"""UTC, ISO 8601."""

StageName = Annotated[
    SeedStage,
    PlainValidator(lambda value: member_of(SeedStage, value)),
    PlainSerializer(lambda stage: stage.name, when_used="json"),
    WithJsonSchema({"type": "string", "enum": list(SeedStage.__members__)}),
]
RiskName = Annotated[
    RiskLevel,
    PlainValidator(lambda value: member_of(RiskLevel, value)),
    PlainSerializer(lambda risk: risk.name, when_used="json"),
    WithJsonSchema({"type": "string", "enum": list(RiskLevel.__members__)}),
]
