"""The request core's vocabulary: requests, responses, deadlines, and the steps of a conversation.

Everything the client does on the network is written once, as a *conversation*: a generator that yields
what it needs next (`Send` a request, `Sleep` a while) and is handed the response or the error. It does no
I/O and starts no thread, so the synchronous and the asynchronous client differ only in how they drive it.

::

    conversation ── Send(request, timeout_s) ──▶ driver ──▶ transport (httpx)
                 ◀── Response, or a TamiyoError thrown in ──┘
                 ── Sleep(seconds) ──▶ driver waits
                 ── return value ──▶ caller
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, Generic, NamedTuple, Self, TypeAlias, TypeVar, cast

Result = TypeVar("Result")
Clock: TypeAlias = Callable[[], float]
"""Seconds on a clock that never goes back, such as `time.monotonic`."""


SMALL_ANSWER_BYTES: Final = 1024 * 1024
"""No answer of the service to a trainer comes near this."""
LARGE_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""No page of a list, and no record in full, comes near this."""


class Request(NamedTuple):
    """One HTTP request; `path` starts with a slash and includes the query."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] | None = None
    """Besides those of every request."""
    max_answer_bytes: int = SMALL_ANSWER_BYTES
    """A larger answer is not the service's and is not read into the trainer's memory."""


class Response(NamedTuple):
    """One complete HTTP response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Send(NamedTuple):
    """Step: send the request, and answer within the seconds left."""

    request: Request
    timeout_s: float


class Sleep(NamedTuple):
    """Step: let time pass."""

    seconds: float


Step: TypeAlias = Send | Sleep
Conversation: TypeAlias = Generator[Step, Response | None, Result]
"""Yields steps, is sent the response of each `Send` (None after a `Sleep`), returns its result."""


class Deadline(NamedTuple):
    """A moment by which a call must be over, whatever it is made of."""

    expires_at: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Deadline:
        """The moment `seconds` from now."""
        return cls(clock() + seconds, clock)

    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.expires_at - self.clock())


class Dialogue(Generic[Result]):
    """A conversation under way. As a context manager it is ended on exit, however far it came.

    Args:
        conversation: not yet begun.
    """

    def __init__(self, conversation: Conversation[Result]) -> None:
        self._conversation: Final = conversation
        self._result: Result | None = None
        self.step: Step | None = None
        """What it needs next; None: it is over."""
        self._advance(conversation.send, None)

    @property
    def result(self) -> Result:
        """What it came to, once it is over."""
        return cast("Result", self._result)

    def go_on(self, response: Response | None) -> None:
        """Hand it the response (None after a `Sleep`)."""
        self._advance(self._conversation.send, response)

    def fail(self, error: BaseException) -> None:
        """Hand it the error that came instead of a response.

        Raises:
            BaseException: what the conversation makes of it.
        """
        self._advance(self._conversation.throw, error)

    def _advance(self, move: Callable[[Any], Step], argument: object) -> None:
        try:
            self.step = move(argument)
        except StopIteration as stop:
            self.step, self._result = None, stop.value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._conversation.close()
