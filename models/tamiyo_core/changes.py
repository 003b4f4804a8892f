"""What changed among the seeds from one report to the next.

A seed *appears* when it is first reported live, or GERMINATED after a stage that was not live (it is a new
seed then, even under an old id). It *leaves* when it was live and is no longer reported. It *moves* when its
stage changed. The change is *surgery* when a seed appeared, left, or moved to TRAINING, BLENDING, FOSSILIZED
or from elsewhere into the failed stages: the host itself changed, and its next delta says nothing about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tamiyo_leyline import SeedStage, SeedStateReport

from tamiyo_core.state import SeedTrack

_SURGICAL = frozenset({SeedStage.TRAINING, SeedStage.BLENDING, SeedStage.FOSSILIZED})


class SeedMove(NamedTuple):
    """A seed that is in another stage than before."""

    before: SeedTrack
    now: SeedStateReport


class SeedChanges(NamedTuple):
    """Everything that changed among the seeds."""

    appeared: tuple[SeedStateReport, ...] = ()
    left: tuple[SeedTrack, ...] = ()
    moved: tuple[SeedMove, ...] = ()
    surgery: bool = False


NO_CHANGES = SeedChanges()


def compare_seeds(tracks: Sequence[SeedTrack], seeds: Sequence[SeedStateReport]) -> SeedChanges:
    """Compare the seeds tracked so far with those of a new report."""
    if _unchanged(tracks, seeds):
        return NO_CHANGES
    known = {track.seed_id: track for track in tracks}
    appeared = tuple(seed for seed in seeds if _appears(known.get(seed.seed_id), seed))
    born = {seed.seed_id for seed in appeared}
    moved = tuple(
        SeedMove(known[seed.seed_id], seed)
        for seed in seeds
        if seed.seed_id not in born and seed.seed_id in known and known[seed.seed_id].stage != seed.stage
    )
    reported = {seed.seed_id for seed in seeds}
    left = tuple(track for track in tracks if track.stage.is_live and track.seed_id not in reported)
    surgery = bool(appeared or left) or any(_is_surgery(move) for move in moved)
    return SeedChanges(appeared, left, moved, surgery)


def _unchanged(tracks: Sequence[SeedTrack], seeds: Sequence[SeedStateReport]) -> bool:
    return len(tracks) == len(seeds) and all(
        track.seed_id == seed.seed_id and track.stage == seed.stage
        for track, seed in zip(tracks, seeds, strict=True)
    )


def _appears(before: SeedTrack | None, now: SeedStateReport) -> bool:
    if before is None:
        return now.stage.is_live
    return now.stage is SeedStage.GERMINATED and not before.stage.is_live


def _is_surgery(move: SeedMove) -> bool:
    if move.now.stage.is_failed:
        return not move.before.stage.is_failed
    left = move.before.stage.is_live and not move.now.stage.is_live
    return left or move.now.stage in _SURGICAL


def illegal_moves(changes: SeedChanges) -> tuple[str, ...]:
    """A warning for every stage change that the transition table does not know.

    The trainer's reality wins: such a report is accepted, and flagged.
    """
    return tuple(
        f"seed {move.now.seed_id}: {move.before.stage.name} → {move.now.stage.name} is not a legal transition"
        for move in changes.moved
        if not move.before.stage.may_become(move.now.stage)
    )
