"""The client tells the trace it is part of, and imports nothing for it."""

from __future__ import annotations

import subprocess
import sys

from opentelemetry.sdk.trace import TracerProvider
from tamiyo_client.settings import endpoint
from tamiyo_client.tracing import traced
from tamiyo_client.transport import outgoing
from tamiyo_client.wire import Request, Send

SEND = Send(Request("GET", "/healthz"), 1.0)


def test_a_call_within_a_span_names_it() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    with tracer.start_as_current_span("epoch") as span:
        context = span.get_span_context()
        request = traced(SEND).request
    sent = outgoing(endpoint("http://tamiyo:8000"), request, 1.0)
    told = sent.headers["traceparent"]
    assert told.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")


def test_a_call_outside_of_any_span_is_as_it_was() -> None:
    assert traced(SEND) is SEND


def test_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys; from tamiyo_client.tracing import traced; from tamiyo_client.wire import Request, Send; "
        "traced(Send(Request('GET', '/'), 1.0)); "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    asked = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert asked.stdout.strip() == "[]"
