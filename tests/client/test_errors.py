"""The taxonomy is complete, and says what to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tamiyo_client
from tamiyo_client import ServiceBusyError, TamiyoError, errors
from tamiyo_client.errors import ERROR_OF
from tamiyo_leyline import ProblemCode
from tamiyo_leyline.problem import RETRYABLE


def family(root: type[TamiyoError]) -> Iterator[type[TamiyoError]]:
    yield root
    for child in root.__subclasses__():
        yield from family(child)


ALL = tuple(family(TamiyoError))


def test_every_problem_code_has_its_error() -> None:
    assert set(ERROR_OF) == set(ProblemCode)


def test_exactly_the_codes_that_come_with_retry_after_ask_for_a_pause() -> None:
    assert {code for code, error in ERROR_OF.items() if issubclass(error, ServiceBusyError)} == RETRYABLE


@pytest.mark.parametrize("error", ALL)
def test_every_error_says_what_comes_next_is_drawn_and_is_public(error: type[TamiyoError]) -> None:
    assert "Next:" in (error.__doc__ or "")
    assert f"{error.__name__} " in (errors.__doc__ or "") or error is TamiyoError
    assert getattr(tamiyo_client, error.__name__) is error
    assert error.__name__ in tamiyo_client.__all__


def test_nothing_public_is_missing() -> None:
    assert all(hasattr(tamiyo_client, name) for name in tamiyo_client.__all__)
    with pytest.raises(AttributeError, match="NoSuchThing"):
        _ = tamiyo_client.NoSuchThing
