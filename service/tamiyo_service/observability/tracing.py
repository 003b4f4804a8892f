"""Whether there are traces, and where they go. What makes and sends spans is imported only if there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import structlog
from tamiyo_leyline import __version__

PLACES: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
"""Variables of OpenTelemetry that name a place for traces."""
_REMEDY: Final = "pip install 'esper-tamiyo[otel]'"
_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

_LOG: Final = structlog.get_logger(__name__)


class TracingError(ValueError):
    """Traces are asked for by name and cannot be had; the message says what to do."""


class Tracing(NamedTuple):
    """Where spans go.

    Attributes:
        tracer: OpenTelemetry's; begins spans.
        close: sends what waits; blocks for some seconds at most.
    """

    tracer: Any
    close: Callable[[], None]


def tracing_of(wanted: bool | None, environment: Mapping[str, str]) -> Tracing | None:
    """Where spans go; None: there are none.

    Args:
        wanted: None: if the environment names a place for them.
        environment: variables, among them those of OpenTelemetry.

    Raises:
        TracingError: if they are wanted by name and OpenTelemetry is not installed.
    """
    if wanted is None and not _is_asked_for(environment):
        return None
    if wanted is False:
        return None
    if not all(map(_is_there, _NEEDED)):
        if wanted:
            raise TracingError(f"TAMIYO_TRACES is set and OpenTelemetry is not installed: {_REMEDY}")
        _LOG.warning("no_traces", reason="OpenTelemetry is not installed", remedy=_REMEDY)
        return None
    return _exporting()


def _is_asked_for(environment: Mapping[str, str]) -> bool:
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    named = environment.get("OTEL_TRACES_EXPORTER", "otlp") != "none"
    return named and not disabled and any(environment.get(place) for place in PLACES)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _exporting() -> Tracing:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before these.
    known = Resource({"service.name": "tamiyo", "service.version": __version__})
    provider = TracerProvider(resource=known.merge(_told_resource()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider.get_tracer("tamiyo", __version__), provider.shutdown)


def _told_resource() -> Any:
    from opentelemetry.sdk.resources import OTELResourceDetector

    return OTELResourceDetector().detect()
