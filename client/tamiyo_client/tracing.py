"""The trace a call belongs to, told to the service where the caller traces with OpenTelemetry."""

from __future__ import annotations

import logging
import sys
from functools import cache
from typing import Final

from tamiyo_client.wire import Send

logger = logging.getLogger("tamiyo_client")

_OPENTELEMETRY: Final = "opentelemetry.trace"


def traced(send: Send) -> Send:
    """The same step with the headers (``traceparent``) of the span it is made in.

    Nothing is imported for it: who has a span has loaded OpenTelemetry. Call it in the caller's own thread or
    task.
    """
    if _OPENTELEMETRY not in sys.modules:
        return send
    from opentelemetry import propagate, trace

    try:
        if not trace.get_current_span().get_span_context().is_valid:
            return send
        headers: dict[str, str] = {}
        propagate.inject(headers)
    except Exception:  # noqa: BLE001 - see below
        # A propagator is whatever the caller's program has set up: its trouble must not be the training's.
        _warn_once()
        return send
    return send._replace(request=send.request._replace(headers=headers))


@cache
def _warn_once() -> None:
    logger.warning("OpenTelemetry fails to name the trace; calls are sent without it", exc_info=True)
