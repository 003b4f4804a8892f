"""Repeating a request that may be repeated, and leaving a silent service alone."""

from __future__ import annotations

from typing import Final

from tamiyo_client.calls import REPEATABLE_METHODS, Call
from tamiyo_client.errors import NotAskedError, RateLimitedError, ServiceBusyError, SilenceError, TamiyoError
from tamiyo_client.settings import RetrySettings
from tamiyo_client.wire import Clock, Conversation, Deadline, Result, Send, Sleep

SILENT_CALLS_BEFORE_QUIET: Final = 3
"""After this many silent calls in a row a call is one try, and if that is silent too the service is left
alone for a while."""
LEAST_TRY_S: Final = 0.02
"""A try with less time than this, seconds, is not worth a pause: its error would say no more than "late"."""
QUIET_FACTOR: Final = 9.0
"""A silent call that cost t seconds buys the trainer this many times t without another one: silence costs
at most a tenth of its time, whether connections are refused at once or swallowed until the deadline."""
LONGEST_QUIET_S: Final = 60.0
"""Never longer than this, whatever the deadline or the service's ``Retry-After``, seconds."""


def converse(call: Call[Result], deadline: Deadline, retry: RetrySettings | None) -> Conversation[Result]:
    """Make the call, repeating it as `retry` says (None: one try) while the deadline allows.

    A call that may not be made twice (see `calls`) is made once.

    Raises:
        TamiyoError: the last try's.
    """
    if call.request.method not in REPEATABLE_METHODS:
        retry = None
    tries = 0
    while True:
        tries += 1
        try:
            response = yield Send(call.request, deadline.remaining_s())
            assert response is not None  # what answers a Send
            return call.read(response)
        except TamiyoError as error:
            pause = None if retry is None else pause_s(error, tries, deadline.remaining_s(), retry)
            if pause is None:
                raise
        yield Sleep(pause)


def pause_s(error: TamiyoError, tries: int, remaining_s: float, retry: RetrySettings) -> float | None:
    """Seconds to wait before the next try, leaving at least `LEAST_TRY_S` for it; None: give up.

    Args:
        error: what became of the last try.
        tries: how many there were, at least 1.
        remaining_s: seconds left until the deadline.
        retry: the settings.
    """
    asked = error.retry_after_s if isinstance(error, ServiceBusyError) else 0.0
    room_s = remaining_s - asked - LEAST_TRY_S
    if not error.may_retry or room_s <= 0.0:
        return None
    # 2.0 ** 1024 overflows; any exponent this large is past the longest backoff anyway.
    ceiling = min(retry.longest_backoff_s, retry.first_backoff_s * 2.0 ** min(tries - 1, 60))
    return asked + min(ceiling, room_s) * retry.random()


class Circuit:
    """Remembers a service's silence, so that not every epoch pays for it.

    ::

                ┌───────────────── any answer, a refusal too ─────────────────┐
                ▼                                                             │
            LISTENING ── 3 silent calls in a row ──▶ DOUBTING: a call is one try, without repeats
                │                                      ▲      │ silent again
                │ Retry-After                          │      ▼
                └──────────────────────────────▶ QUIET: 9 times what that cost (or Retry-After), at most 60 s

    One circuit serves all runs of a client (what concerns one alone: `RunCircuit`). Its fields are plain
    assignments: threads that race at worst make one call more or less.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._silent_calls = 0
        self._quiet_until = 0.0

    def require_open(self) -> None:
        """Let a call pass, or not.

        Raises:
            NotAskedError: while the service is left alone.
        """
        wait_s = self._quiet_until - self._clock()
        if wait_s > 0.0:
            calls = f"{self._silent_calls} calls" if self._silent_calls != 1 else "a call"
            raise NotAskedError(f"Tamiyo did not answer {calls}, it is asked again in {wait_s:.1f} s")

    @property
    def is_listening(self) -> bool:
        """Whether the service answered lately: a call may then use its whole deadline on repeats."""
        return self._silent_calls < SILENT_CALLS_BEFORE_QUIET

    def heard(self) -> None:
        """The service answered."""
        self._silent_calls = 0
        self._quiet_until = 0.0

    def silent(self, error: SilenceError, cost_s: float) -> None:
        """The service did not answer a call, which cost the trainer `cost_s` seconds."""
        # What a call with repeats cost says nothing about what one try will cost.
        quiet_s = 0.0 if self.is_listening else QUIET_FACTOR * cost_s
        self._silent_calls += 1
        if isinstance(error, ServiceBusyError):
            quiet_s = max(quiet_s, error.retry_after_s)
        self._quiet_until = self._clock() + min(quiet_s, LONGEST_QUIET_S)


class RunCircuit(Circuit):
    """One run's view of the circuit: a pause that is asked of this run leaves the others alone.

    Args:
        shared: the client's.
        clock: tells the time.
    """

    def __init__(self, shared: Circuit, clock: Clock) -> None:
        super().__init__(clock)
        self._shared: Final = shared

    def require_open(self) -> None:
        """Let a call pass, or not.

        Raises:
            NotAskedError: while the service is left alone, or asks this run for a pause.
        """
        super().require_open()
        self._shared.require_open()

    @property
    def is_listening(self) -> bool:
        """Whether the service answered lately, this run or another."""
        return self._shared.is_listening

    def heard(self) -> None:
        """The service answered this run."""
        super().heard()
        self._shared.heard()

    def silent(self, error: SilenceError, cost_s: float) -> None:
        """The service did not answer a call of this run, which cost the trainer `cost_s` seconds."""
        if isinstance(error, RateLimitedError):
            self._shared.heard()
            super().silent(error, cost_s)
        else:
            self._shared.silent(error, cost_s)
