"""An export as a response."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Send

from tamiyo_service.errors import TamiyoError

_LOG: Final = structlog.get_logger(__name__)


class ExportResponse(StreamingResponse):
    """Sends pieces of a file, and reads no further when its caller has gone.

    Args:
        pieces: of the file.
        media_type: of the file.
        name: of the file.
    """

    def __init__(self, pieces: AsyncGenerator[bytes, None], media_type: str, name: str) -> None:
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        super().__init__(pieces, headers=headers, media_type=media_type)
        self._pieces = pieces

    async def stream_response(self, send: Send) -> None:
        """Send the file. Where it cannot be read to its end it stays incomplete, and the caller sees that."""
        async with aclosing(self._pieces):
            try:
                await super().stream_response(send)
            except TamiyoError as error:
                _LOG.error("export_broken_off", error=error.message)
