"""How the client conducts itself towards the service and the trainer, shared by all runs of a client."""

from __future__ import annotations

import time
from typing import NamedTuple

from tamiyo_client.calls import Call
from tamiyo_client.errors import ServiceFaultError, SilenceError, TamiyoError
from tamiyo_client.fallback import Fallback
from tamiyo_client.notices import Notices
from tamiyo_client.retry import Circuit, RunCircuit, converse
from tamiyo_client.settings import RetrySettings, require_deadline
from tamiyo_client.wire import Clock, Conversation, Deadline, Result


class Conduct(NamedTuple):
    """The client's settings that matter to a conversation.

    Attributes:
        deadline_s: longest time any call may cost the trainer, seconds.
        retry: when a request is repeated.
        strict: whether errors are raised instead of answered with the client's own decision.
        fallback: who decides then; None: WAIT.
        clock: tells the time.
        circuit: remembers the service's silence.
        notices: remembers what was warned of.
    """

    deadline_s: float
    retry: RetrySettings
    strict: bool
    fallback: Fallback | None
    clock: Clock
    circuit: Circuit
    notices: Notices

    def for_run(self) -> Conduct:
        """The same for one run, whose pauses are its own."""
        return self._replace(circuit=RunCircuit(self.circuit, self.clock))

    def deadline(self) -> Deadline:
        """The moment by which a call that begins now is over."""
        return Deadline.after(self.deadline_s, self.clock)

    def ask(self, call: Call[Result], deadline: Deadline) -> Conversation[Result]:
        """Make a call of a run. While the service is silent it is tried once only, without repeats.

        Raises:
            TamiyoError: what became of it.
        """
        began = self.clock()
        retry = self.retry if self.circuit.is_listening else None
        try:
            result = yield from converse(call, deadline, retry)
        except TamiyoError as error:
            # A service that fails at one request has answered, and may answer the next.
            if isinstance(error, SilenceError) and not isinstance(error, ServiceFaultError):
                self.circuit.silent(error, self.clock() - began)
            else:
                self.circuit.heard()
            raise
        self.circuit.heard()
        return result

    def read(self, call: Call[Result]) -> Conversation[Result]:
        """Make a call that is nobody's epoch: its errors are always raised, the circuit is not consulted.

        Raises:
            TamiyoError: what became of it.
        """
        return converse(call, self.deadline(), self.retry)


def conduct(
    deadline_s: float, retry: RetrySettings | None, *, strict: bool, fallback: Fallback | None
) -> Conduct:
    """The conduct for these settings, on the machine's monotonic clock.

    Raises:
        UsageError: if the deadline is none.
    """
    clock = time.monotonic
    return Conduct(
        deadline_s=require_deadline(deadline_s),
        retry=retry or RetrySettings(),
        strict=strict,
        fallback=fallback,
        clock=clock,
        circuit=Circuit(clock),
        notices=Notices(),
    )
