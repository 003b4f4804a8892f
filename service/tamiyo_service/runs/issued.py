"""The commands that a run issued: outcomes may name no others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import orjson
from tamiyo_core import parse_command_id
from tamiyo_leyline.fields import MAX_COUNT

from tamiyo_service.errors import UnknownCommandError
from tamiyo_service.runs.session import Session
from tamiyo_service.store.rows import DecisionKey, Entry

LookUp = Callable[[DecisionKey], Awaitable[Entry | None]]


class IssuedCommands:
    """Finds out whether a run issued a command.

    Args:
        look_up: finds an earlier report.
    """

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up

    async def require(self, session: Session, command_ids: Sequence[str]) -> None:
        """Check that the run issued every one of these commands.

        Raises:
            UnknownCommandError: naming the first that it did not.
        """
        for number, command_id in enumerate(command_ids):
            tracked = session.engine.tracks(session.standing.state, command_id)
            if not tracked and not await self._has_issued(session, command_id):
                raise UnknownCommandError(
                    f"run {session.run_id} issued no command {command_id!r}; "
                    "quote a command_id from one of its replies",
                    field=f"outcomes.{number}.command_id",
                )

    async def _has_issued(self, session: Session, command_id: str) -> bool:
        ref = parse_command_id(command_id)
        if ref is None or ref.run_id != session.run_id or max(ref.attempt, ref.epoch) > MAX_COUNT:
            return False
        entry = await self._look_up(DecisionKey(session.run_pk, ref.attempt, ref.epoch))
        if entry is None or entry.reply is None:
            return False
        return any(command["command_id"] == command_id for command in orjson.loads(entry.reply)["commands"])
