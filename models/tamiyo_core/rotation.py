"""Which blueprint to germinate: round-robin over the rotation, sparing what was culled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class BlueprintChoice(NamedTuple):
    """A blueprint, and how likely each was to be chosen."""

    blueprint_id: str
    probabilities: Mapping[str, float] | None
    """None: no chance was involved."""


def next_blueprint(
    rotation: Sequence[str], cursor: int, penalties: Mapping[str, float], threshold: float
) -> str:
    """The next unbarred blueprint from the cursor on; if all are barred, the least penalised.

    Args:
        rotation: blueprints in the order they are tried, not empty.
        cursor: where to start.
        penalties: of each penalised blueprint.
        threshold: a blueprint with this penalty or more is barred.
    """
    order = _from(rotation, cursor)
    for name in order:
        if penalties.get(name, 0.0) < threshold:
            return name
    return min(order, key=lambda name: penalties.get(name, 0.0))


def choose_blueprint(
    rotation: Sequence[str],
    cursor: int,
    penalties: Mapping[str, float],
    threshold: float,
    exploration: float,
    draw: float,
) -> BlueprintChoice:
    """`next_blueprint`, or with probability `exploration` a uniform choice among the unbarred.

    Args:
        rotation: blueprints in the order they are tried, not empty.
        cursor: where to start.
        penalties: of each penalised blueprint.
        threshold: a blueprint with this penalty or more is barred.
        exploration: ε, 0–1.
        draw: uniform in [0, 1); below ε it also picks the blueprint.
    """
    regular = next_blueprint(rotation, cursor, penalties, threshold)
    if exploration == 0.0:
        return BlueprintChoice(regular, None)
    unbarred = [name for name in dict.fromkeys(rotation) if penalties.get(name, 0.0) < threshold] or [regular]
    probabilities = dict.fromkeys(unbarred, exploration / len(unbarred))
    probabilities[regular] += 1.0 - exploration
    if draw >= exploration:
        return BlueprintChoice(regular, probabilities)
    return BlueprintChoice(
        unbarred[min(int(draw / exploration * len(unbarred)), len(unbarred) - 1)], probabilities
    )


def cursor_past(rotation: Sequence[str], cursor: int, blueprint_id: str) -> int:
    """The cursor moved past `blueprint_id`; where it stands, if the rotation does not have it."""
    for step, name in enumerate(_from(rotation, cursor), 1):
        if name == blueprint_id:
            return (cursor + step) % len(rotation)
    return cursor


def _from(rotation: Sequence[str], cursor: int) -> Sequence[str]:
    start = cursor % len(rotation)
    return (*rotation[start:], *rotation[:start])
