"""When a request is repeated, and when a service is left alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tamiyo_client import (
    DeadlineExceededError,
    NotAskedError,
    RetrySettings,
    ServiceBusyError,
    ServiceFaultError,
    ServiceUnreachableError,
    UsageError,
)
from tamiyo_client.calls import Call
from tamiyo_client.retry import LONGEST_QUIET_S, QUIET_FACTOR, Circuit, converse, pause_s
from tamiyo_client.wire import Deadline, Dialogue, Request, Response, Send, Sleep

LOST = ServiceUnreachableError("lost")
probabilities = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@given(
    probabilities,
    st.integers(min_value=1, max_value=5000),
    st.floats(min_value=0.0, max_value=100.0),
    st.floats(min_value=0.0, max_value=100.0),
)
def test_a_pause_fits_into_what_remains_and_keeps_the_services_wish(
    drawn: float, tries: int, remaining_s: float, asked_s: float
) -> None:
    retry = RetrySettings(random=lambda: drawn)
    pause = pause_s(ServiceBusyError("busy", retry_after_s=asked_s), tries, remaining_s, retry)
    if pause is None:
        assert remaining_s < asked_s + 0.03
    else:
        assert asked_s <= pause < remaining_s
        assert pause <= asked_s + retry.longest_backoff_s


def test_the_jitter_is_full_and_grows_exponentially_up_to_the_longest() -> None:
    retry = RetrySettings(first_backoff_s=0.1, longest_backoff_s=1.0, random=lambda: 0.5)
    pauses = [pause_s(LOST, tries, 60.0, retry) for tries in range(1, 7)]
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.5, 0.5])
    assert pause_s(LOST, 1, 60.0, RetrySettings(random=lambda: 0.0)) == 0.0


@pytest.mark.parametrize("error", [DeadlineExceededError("late"), ServiceFaultError("500")])
def test_what_would_only_happen_again_is_not_repeated(error: Exception) -> None:
    assert isinstance(error, DeadlineExceededError | ServiceFaultError)
    assert pause_s(error, 1, 60.0, RetrySettings()) is None


@pytest.mark.parametrize(("first_s", "longest_s"), [(0.0, 1.0), (2.0, 1.0), (0.1, math.inf), (math.nan, 1.0)])
def test_backoffs_that_make_no_sense_are_refused(first_s: float, longest_s: float) -> None:
    with pytest.raises(UsageError):
        RetrySettings(first_backoff_s=first_s, longest_backoff_s=longest_s)


def test_a_conversation_never_lasts_longer_than_its_deadline() -> None:
    clock = Clock()
    timeouts: list[float] = []

    def lose_every_answer(dialogue: Dialogue[Response]) -> None:
        while (step := dialogue.step) is not None:
            if isinstance(step, Sleep):
                clock.now_s += step.seconds
                dialogue.go_on(None)
            else:
                timeouts.append(step.timeout_s)
                dialogue.fail(LOST)

    retry = RetrySettings(random=lambda: 0.99)
    with pytest.raises(ServiceUnreachableError):
        lose_every_answer(Dialogue(converse(_call("PUT"), Deadline.after(2.0, clock), retry)))
    assert clock.now_s <= 102.0
    assert len(timeouts) > 4
    assert min(timeouts) > 0.0


def test_a_delete_is_made_once() -> None:
    conversation = converse(_call("DELETE"), Deadline.after(2.0, Clock()), RetrySettings())
    dialogue = Dialogue(conversation)
    assert isinstance(dialogue.step, Send)
    with pytest.raises(ServiceUnreachableError):
        dialogue.fail(LOST)


def test_silence_is_probed_by_single_tries_that_cost_a_tenth_of_the_time() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    for _ in range(3):
        circuit.require_open()
        assert circuit.is_listening
        circuit.silent(LOST, 2.0)
    circuit.require_open()
    assert not circuit.is_listening
    circuit.silent(LOST, 2.0)
    with pytest.raises(NotAskedError, match=r"4 calls.*18\.0 s"):
        circuit.require_open()
    clock.now_s += 2.0 * QUIET_FACTOR
    circuit.require_open()


def test_an_answer_ends_the_silence() -> None:
    circuit = Circuit(Clock())
    for _ in range(9):
        circuit.silent(LOST, 1000.0)
    circuit.heard()
    circuit.require_open()
    assert circuit.is_listening


def test_a_pause_asked_for_is_kept_by_later_calls_but_not_for_ever() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    circuit.silent(ServiceBusyError("busy", retry_after_s=5.0), 0.01)
    clock.now_s += 4.9
    with pytest.raises(NotAskedError):
        circuit.require_open()
    circuit.silent(ServiceBusyError("busy", retry_after_s=1e9), 0.01)
    clock.now_s += LONGEST_QUIET_S
    circuit.require_open()


def _call(method: str) -> Call[Response]:
    return Call(Request(method, "/"), lambda response: response)
