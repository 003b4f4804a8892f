"""Commands for the stand-in to give."""

from __future__ import annotations

from datetime import UTC, datetime

from tamiyo_leyline import ActionKind, AdaptationCommand, command_for


def germinate(command_id: str, *, expires: int) -> AdaptationCommand:
    """A GERMINATE that must not be carried out after epoch `expires`."""
    return command_for(
        ActionKind.GERMINATE,
        command_id=command_id,
        issued_at=datetime(2024, 1, 1, tzinfo=UTC),
        epoch=expires - 1,
        reason="plateau",
        confidence=0.6,
        blueprint_id="norm",
    )
