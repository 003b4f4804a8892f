"""A live stream as a response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, MutableMapping
from contextlib import aclosing, suppress
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

SEND_SECONDS: Final = 30.0
"""How long a follower may take nothing at all; then its connection is closed."""
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Nobody between the service and the follower is to keep the events back."""


class LiveResponse(StreamingResponse):
    """Sends frames as they come, and lets go of everything when it ends, however that is.

    Args:
        frames: the stream.
        leave: called at the end, whether or not anything was sent.
        send_seconds: how long one frame may take to be taken.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        leave: Callable[[], None],
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        super().__init__(frames, headers=_HEADERS)
        self._frames = frames
        self._leave = leave
        self._send_seconds = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one follower."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()

    async def stream_response(self, send: Send) -> None:
        """Send the stream until it ends, or its follower stops reading."""

        async def send_in_time(message: MutableMapping[str, Any]) -> None:
            async with asyncio.timeout(self._send_seconds):
                await send(message)

        async with aclosing(self._frames):
            # Left incomplete, it ends with its connection: the follower sees that it has to come again.
            with suppress(TimeoutError):
                await super().stream_response(send_in_time)
