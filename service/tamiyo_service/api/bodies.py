"""Request bodies: validated once, straight from their bytes, and described in the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Request
from pydantic import BaseModel, FailFast, Field, TypeAdapter, ValidationError
from pydantic.json_schema import models_json_schema
from tamiyo_leyline import ProblemCode

from tamiyo_service.auth.audit import REASON
from tamiyo_service.errors import InvalidRequestError

_REFERENCE: Final = "#/components/schemas/{model}-Input"


class UnreadableBodyError(Exception):
    """A body breaks its schema.

    Args:
        reason: what pydantic says.
        code: what the problem is called if none of the faults has a code of its own.
    """

    def __init__(self, reason: ValidationError, code: ProblemCode) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.code = code


class JsonBody:
    """A route's body, as a FastAPI dependency: ``Annotated[Schema, Depends(JsonBody(Schema))]``.

    Args:
        schema: what the body must be.
        code: what a body that breaks the schema is called.
        most: None: the body is one `schema`; else a list of up to so many.
        optional: whether an empty body stands for ``{}``.
        strict: whether what is lenient as an answer is taken exactly.
        secret: whether a refusal must not repeat anything of it.
    """

    def __init__(
        self,
        schema: type[BaseModel],
        code: ProblemCode = ProblemCode.INVALID_REQUEST,
        *,
        most: int | None = None,
        optional: bool = False,
        strict: bool = False,
        secret: bool = False,
    ) -> None:
        self.schema: Final = schema
        self._code = code
        self._most = most
        self._optional = optional
        self._strict = strict or None
        self._secret = secret
        self._adapter: TypeAdapter[Any] | None = None

    async def __call__(self, request: Request) -> Any:
        """Read and validate the body of a request."""
        value = self.validate(await request.body())
        reason = getattr(value, "reason", None)
        if reason is not None:
            request.scope[REASON] = str(reason)
        return value

    def validate(self, body: bytes) -> Any:
        """The value of a body.

        Raises:
            UnreadableBodyError: if it breaks the schema.
            InvalidRequestError: the same of a secret.
        """
        if self._optional and not body:
            body = b"{}"
        if self._adapter is None:
            self._adapter = TypeAdapter(self._wanted())
        try:
            return self._adapter.validate_json(body, strict=self._strict)
        except ValidationError as error:
            if self._secret:
                fields = ", ".join(self.schema.model_fields)
                raise InvalidRequestError(f"the body must be a JSON object with {fields} alone") from None
            raise UnreadableBodyError(error, self._code) from error

    def _wanted(self) -> Any:
        wanted: Any = self.schema
        if self._most is None:
            return wanted
        # One fault is enough: collecting those of a million elements takes longer than anything else.
        return Annotated[list[wanted], FailFast(), Field(max_length=self._most)]

    def documented(self) -> dict[str, Any]:
        """What a route passes as ``openapi_extra``."""
        reference: dict[str, Any] = {"$ref": _REFERENCE.format(model=self.schema.__name__)}
        array = {"type": "array", "items": reference, "maxItems": self._most}
        schema = reference if self._most is None else array
        content = {"application/json": {"schema": schema}}
        return {"requestBody": {"required": not self._optional, "content": content}}


def input_schemas(bodies: list[JsonBody]) -> dict[str, Any]:
    """JSON schemas of what the bodies may contain, by the name the document refers to."""
    inputs = [(body.schema, "validation") for body in bodies]
    _, generated = models_json_schema(inputs, ref_template=_REFERENCE)  # type: ignore[arg-type]  # list is invariant
    return {f"{name}-Input": schema for name, schema in generated["$defs"].items()}
