"""The trace a call belongs to, told to the service where the caller traces with OpenTelemetry."""

from __future__ import annotations

import sys
from typing import Final

from tamiyo_client.wire import Send

_OPENTELEMETRY: Final = "opentelemetry.trace"


def traced(send: Send) -> Send:
    """The same step with the headers (``traceparent``) of the span it is made in.

    Nothing is imported for it: who has a span has loaded OpenTelemetry. Call it in the caller's own thread or
    task.
    """
    if _OPENTELEMETRY not in sys.modules:
        return send
    from opentelemetry import propagate, trace

    if not trace.get_current_span().get_span_context().is_valid:
        return send
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return send._replace(request=send.request._replace(headers=headers))
