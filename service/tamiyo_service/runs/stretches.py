"""Long work in the event loop, cut into stretches so that others are served in between."""

from __future__ import annotations

import asyncio
import time
from typing import Final

STRETCH_SECONDS: Final = 0.005
"""How long others wait at a time."""


class Stretches:
    """Lets others have a turn whenever long work has gone on for `STRETCH_SECONDS`; one for all of it."""

    def __init__(self) -> None:
        self._until = 0.0

    async def worked(self) -> None:
        """Call after every piece of the work."""
        if time.monotonic() >= self._until:
            await asyncio.sleep(0)
            self._until = time.monotonic() + STRETCH_SECONDS
