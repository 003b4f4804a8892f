"""Spans of requests and decisions: within the caller's trace, and only where there are traces."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tamiyo_service import Settings
from tamiyo_service.app import create_app
from tamiyo_service.observability.tracing import PLACES, Tracing, tracing_of
from tamiyo_service.store import MemoryStore, Store

from tests.service.conftest import sql_store
from tests.service.samples import report

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
PATH = "/runs/r/epoch"


class Spans:
    """What was traced."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(self._provider.get_tracer("tests"), self._provider.shutdown)

    def take(self) -> dict[str, ReadableSpan]:
        """The spans since the last look, by name; each name occurs once."""
        found = self._exporter.get_finished_spans()
        self._exporter.clear()
        by_name = {span.name: span for span in found}
        assert len(by_name) == len(found)
        return by_name


@asynccontextmanager
async def traced(store: Store, **settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Spans]]:
    spans = Spans()
    app = create_app(Settings(**settings), store=store, tracing=spans.tracing)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tamiyo") as http,
    ):
        yield http, spans


def times(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    found: int = span.parent.span_id
    return found


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    found: int = span.context.span_id
    return found


async def test_a_decision_has_its_parts_within_the_trace_of_the_caller(tmp_path: Path) -> None:
    async with traced(sql_store(tmp_path)) as (http, spans):
        await http.post(PATH, json=report(0))
        spans.take()
        assert (await http.post(PATH, json=report(1), headers=HEADERS)).status_code == 200
        found = spans.take()
    assert set(found) == {"POST /runs/{run_id}/epoch", "decide", "store"}
    request = found["POST /runs/{run_id}/epoch"]
    assert request.context is not None
    assert format(request.context.trace_id, "032x") == TRACE
    assert format(parent_of(request), "016x") == PARENT
    assert request.attributes is not None
    assert request.attributes["tamiyo.run"] == "r"
    assert request.attributes["http.response.status_code"] == 200
    for name in ("decide", "store"):
        assert parent_of(found[name]) == id_of(request)
    began, ended = times(found["store"])
    assert times(request)[0] <= times(found["decide"])[0] <= began <= ended <= times(request)[1]
    assert found["store"].attributes == {"tamiyo.epoch": 1, "tamiyo.action": "WAIT"}


async def test_a_network_that_is_asked_has_a_span() -> None:
    async with traced(MemoryStore(), default_policy="learned", device="cpu") as (http, spans):
        found: dict[str, ReadableSpan] = {}
        for epoch in range(10):
            await http.post(PATH, json=report(epoch))
            taken = spans.take()
            found = taken if "network" in taken else found
    assert parent_of(found["network"]) == id_of(found["decide"])
    began, ended = times(found["network"])
    assert times(found["decide"])[0] <= began <= ended <= times(found["decide"])[1]


async def test_other_requests_have_the_name_of_their_route() -> None:
    async with traced(MemoryStore()) as (http, spans):
        assert (await http.get("/runs/nobody")).status_code == 404
        (span,) = spans.take().values()
    assert span.name == "GET /runs/{run_id}"
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 404
    assert span.status.is_unset


async def test_health_checks_and_scrapes_are_not_traced() -> None:
    async with traced(MemoryStore()) as (http, spans):
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await http.get(path)).status_code == 200
        assert spans.take() == {}


@pytest.mark.parametrize(
    ("wanted", "environment", "is_on"),
    [
        (None, {}, False),
        (None, {PLACES[0]: "http://localhost:4318"}, True),
        (None, {PLACES[1]: "http://localhost:4318/v1/traces"}, True),
        (None, {PLACES[0]: "http://localhost:4318", "OTEL_SDK_DISABLED": "true"}, False),
        (None, {PLACES[0]: "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        (False, {PLACES[0]: "http://localhost:4318"}, False),
        (True, {}, True),
    ],
)
def test_there_are_traces_where_they_are_asked_for(
    wanted: bool | None, environment: dict[str, str], is_on: bool
) -> None:
    tracing = tracing_of(wanted, environment)
    assert (tracing is not None) is is_on
    if tracing is not None:
        tracing.close()


def test_nothing_that_sends_traces_is_imported_without_them() -> None:
    code = (
        "import sys; from tamiyo_service import Settings; from tamiyo_service.app import create_app; "
        "from tamiyo_service.store import MemoryStore; create_app(Settings(), store=MemoryStore()); "
        "print([name for name in sys.modules "
        "if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    asked = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert asked.stdout.strip() == "[]"
