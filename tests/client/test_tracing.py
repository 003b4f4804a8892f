"""The client tells the trace it is part of, and imports nothing for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from tamiyo_client import TamiyoClient
from tamiyo_client.settings import endpoint
from tamiyo_client.tracing import _warn_once, traced
from tamiyo_client.transport import outgoing
from tamiyo_client.wire import Request, Send

from tests.client.stand_in import StandIn

SEND = Send(Request("GET", "/healthz"), 1.0)


def test_a_call_within_a_span_names_it() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    with tracer.start_as_current_span("epoch") as span:
        context = span.get_span_context()
        request = traced(SEND).request
    sent = outgoing(endpoint("http://tamiyo:8000"), request, 1.0)
    told = sent.headers["traceparent"]
    assert told.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")


def test_a_propagator_that_fails_costs_no_call(
    service: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError("no propagator today")

    monkeypatch.setattr("opentelemetry.propagate.inject", fail)
    _warn_once.cache_clear()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    with (
        tracer.start_as_current_span("training"),
        TamiyoClient(service.url) as client,
        client.run("r") as run,
    ):
        decisions = [run.epoch(epoch=epoch, available_slots=1) for epoch in range(3)]
    assert [decision.source for decision in decisions] == ["service"] * 3
    assert [record.name for record in caplog.records if record.levelname == "WARNING"] == ["tamiyo_client"]


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
