"""Refusals in words: what a `pydantic.ValidationError` says to the person who has to mend the input.

Every message says what would be right and what came instead: "must be between 0 and 100 (percent), got 250".
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tamiyo_leyline.problem import FieldError, ProblemCode
from tamiyo_leyline.spelling import remedy

MAX_FIELD_ERRORS: Final = 20
"""More faults than these are only counted: a body may hold thousands."""
_MAX_LISTABLE: Final = 1000
"""Beyond this pydantic's own list is not even built: it would take a good part of a second."""
_ECHO_LENGTH: Final = 80
_MARKED: Final = re.compile(r"<\w+>|\[key\]")
"""Parts of pydantic's locations that are no fields: branches of a choice, and keys of a map."""
_SUBJECT: Final = re.compile(r"^(?:Input|Value|String|Tuple|Dictionary|List|Datetime) should ")
_WORDING: Final = {
    "missing": "is required",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "tuple_type": "must be a list",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode text",
    "union_tag_not_found": "must be a number or an object",
}
"""What would be right, where pydantic does not say it in the sender's terms."""


def field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    """The fields at fault, in the order of the input, with what would be right and what came instead.

    After `MAX_FIELD_ERRORS` one last entry counts the rest.
    """
    count = error.error_count()
    if count > _MAX_LISTABLE:
        return (FieldError(field="", message=f"has {count} faults: it is no {error.title}"),)
    details = _genuine(error.errors(include_url=False))
    shown = tuple(_field_error(detail, error.title) for detail in details[:MAX_FIELD_ERRORS])
    hidden = len(details) - len(shown)
    return (*shown, FieldError(field="", message=f"and {hidden} more faults")) if hidden else shown


def _genuine(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without the lists that are called too short only because their faulty entries were left out."""
    faulty = {detail["loc"][:length] for detail in details for length in range(len(detail["loc"]))}
    return [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in faulty]


def problem_code(error: ValidationError, default: ProblemCode) -> ProblemCode:
    """The code of the refusal: that of the first fault that is a problem of its own, else `default`."""
    if error.error_count() > _MAX_LISTABLE:
        return default
    kinds = (detail["type"] for detail in error.errors(include_url=False, include_input=False))
    return next((ProblemCode(kind) for kind in kinds if kind in _CODES), default)


_CODES: Final = frozenset(code.value for code in ProblemCode)


def _field_error(detail: ErrorDetails, title: str) -> FieldError:
    context = detail.get("ctx", {})
    place = [_part(part) for part in detail["loc"] if not _MARKED.fullmatch(str(part))]
    if "field" in context:
        return FieldError(field=".".join([*place, context["field"]]), message=context["message"])
    if detail["type"] == "extra_forbidden":
        return FieldError(field=".".join(place), message=_unknown(detail, title))
    return FieldError(field=".".join(place), message=_wording(detail, context) + _echo(detail))


def _unknown(detail: ErrorDetails, title: str) -> str:
    meant = remedy(title, detail["loc"]) or "leave it out or check its spelling"
    return f"is not a known field, got {echoed(detail['input'])}; {meant}"


def _part(part: int | str) -> str:
    return printable(str(part)[:_ECHO_LENGTH])


def _wording(detail: ErrorDetails, context: dict[str, Any]) -> str:
    kind = detail["type"]
    if kind == "json_invalid" and _has_mark(detail["input"]):
        return "the body must be valid JSON in UTF-8 without a byte order mark: leave out its first character"
    if kind == "json_invalid":
        return f"the body must be valid JSON: {context['error']}"
    if kind in {"too_long", "too_short"}:
        return _length(context)
    wording = _WORDING.get(kind) or _SUBJECT.sub("must ", detail["msg"].removeprefix("Value error, "))
    return f"its key {wording}" if detail["loc"][-1:] == ("[key]",) else wording


def _has_mark(body: object) -> bool:
    if isinstance(body, str):
        return body.startswith("\ufeff")
    return isinstance(body, bytes | bytearray) and body.startswith((BOM_UTF8, BOM_UTF16_LE, BOM_UTF16_BE))


def _length(context: dict[str, Any]) -> str:
    most, least = context.get("max_length"), context.get("min_length")
    limit = f"at least {least}" if most is None else f"at most {most}"
    actual = context["actual_length"]
    return f"must have {limit} {'entry' if least == 1 else 'entries'}" + (f", got {actual}" if actual else "")


_SELF_EXPLAINING: Final = frozenset({"json_invalid", "missing", "too_long", "too_short"})


def _echo(detail: ErrorDetails) -> str:
    return "" if detail["type"] in _SELF_EXPLAINING else f", got {echoed(detail['input'])}"


def echoed(value: object) -> str:
    """`value` as a message shows it: as JSON writes it, printable, no longer than about 80 characters."""
    if isinstance(value, str):
        return _shortened(json.dumps(value[: _ECHO_LENGTH + 1], ensure_ascii=False))
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int):
        # Python refuses to write out integers of thousands of digits.
        digits = int(value.bit_length() * 0.30103) + 1
        return str(value) if digits < _ECHO_LENGTH else f"an integer of about {digits} digits"
    if isinstance(value, float):
        return json.dumps(value)
    return _KINDS.get(type(value), f"a value of type {type(value).__name__}")


_KINDS: Final[dict[type, str]] = {dict: "an object", list: "a list", tuple: "a list", bytes: "bytes"}


def _shortened(text: str) -> str:
    return printable(text if len(text) <= _ECHO_LENGTH else text[: _ECHO_LENGTH - 2] + '…"')


def printable(text: str) -> str:
    """`text` with everything that does not print (control characters, lone surrogates) escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
