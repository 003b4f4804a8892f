"""The log: one JSON object a line, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog

_CHATTY: Final = ("uvicorn.error", "alembic")
"""Libraries whose every step is of no interest to an operator."""


def configure_logs(level: str) -> None:
    """Send structlog's entries, and those of the standard library, to standard error as JSON.

    Args:
        level: the least severe level written, such as ``info``.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        # The standard library's handlers contain a broken stream: a lost log must not stop the writer.
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    # With standard error gone there is nowhere to tell that an entry could not be written.
    logging.raiseExceptions = False
    logging.basicConfig(level=threshold, handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
