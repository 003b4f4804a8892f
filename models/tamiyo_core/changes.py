"""What changed among the seeds from one report to the next.

A seed *appears* when it is first reported live, or GERMINATED after a stage that was not live: it is a new
seed then, even under an old id. UNKNOWN and DORMANT are the time before a life, so that a seed first seen
live after them appears too, whatever a gap in the reports hid. It *leaves* when it was live and is no longer
reported, or is back in UNKNOWN or DORMANT. It *moves* when its stage changed otherwise.

The change is *surgery* when a seed appeared, left, or moved to TRAINING, BLENDING, FOSSILIZED or from
elsewhere into the failed stages: the host itself changed, and its next delta says nothing about it. A seed
that comes back from the failed stages without germinating breaks the rules of its life, but it is surgery.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tamiyo_leyline import EpochReport, SeedStage, SeedStateReport

from tamiyo_core.state import SeedTrack

_SURGICAL = frozenset({SeedStage.TRAINING, SeedStage.BLENDING, SeedStage.FOSSILIZED})
_UNBORN = frozenset({SeedStage.UNKNOWN, SeedStage.DORMANT})


class SeedMove(NamedTuple):
    """A seed that is in another stage than before."""

    before: SeedTrack
    now: SeedStateReport


class SeedChanges(NamedTuple):
    """Everything that changed among the seeds."""

    appeared: tuple[SeedStateReport, ...] = ()
    left: tuple[SeedTrack, ...] = ()
    moved: tuple[SeedMove, ...] = ()
    """Without those that appeared or left."""
    illegal: tuple[SeedMove, ...] = ()
    """Every change of stage that the transition table does not know."""
    surgery: bool = False


NO_CHANGES = SeedChanges()


def ordered_seeds(report: EpochReport) -> Sequence[SeedStateReport]:
    """The report's seeds by slot_id: their order in the report means nothing."""
    if len(report.seeds) < 2:
        return report.seeds
    return sorted(report.seeds, key=lambda seed: seed.slot_id)


def compare_seeds(tracks: Sequence[SeedTrack], seeds: Sequence[SeedStateReport]) -> SeedChanges:
    """Compare the seeds tracked so far with those of a new report, both by slot_id."""
    if _unchanged(tracks, seeds):
        return NO_CHANGES
    known = {track.seed_id: track for track in tracks}
    appeared = tuple(seed for seed in seeds if _appears(known.get(seed.seed_id), seed))
    changed = tuple(
        SeedMove(known[seed.seed_id], seed)
        for seed in seeds
        if seed.seed_id in known and known[seed.seed_id].stage is not seed.stage
    )
    reported = {seed.seed_id for seed in seeds}
    gone = tuple(track for track in tracks if track.stage.is_live and track.seed_id not in reported)
    left = (*gone, *(move.before for move in changed if _leaves(move)))
    moved = tuple(move for move in changed if not (_appears(*move) or _leaves(move)))
    surgery = bool(appeared or left) or any(_is_surgery(move) for move in moved)
    illegal = tuple(move for move in changed if not move.before.stage.may_become(move.now.stage))
    return SeedChanges(appeared, left, moved, illegal, surgery)


def illegal_moves(changes: SeedChanges) -> tuple[str, ...]:
    """A warning for every stage change that the transition table does not know.

    The trainer's reality wins: such a report is accepted, and flagged.
    """
    return tuple(
        f"seed {move.now.seed_id}: {move.before.stage.name} → {move.now.stage.name} is not a legal transition"
        for move in changes.illegal
    )


def _unchanged(tracks: Sequence[SeedTrack], seeds: Sequence[SeedStateReport]) -> bool:
    if len(tracks) != len(seeds):
        return False
    for track, seed in zip(tracks, seeds, strict=True):
        if track.stage is not seed.stage or track.seed_id != seed.seed_id:
            return False
    return True


def _appears(before: SeedTrack | None, now: SeedStateReport) -> bool:
    if not now.stage.is_live:
        return False
    if before is None or before.stage in _UNBORN:
        return True
    return now.stage is SeedStage.GERMINATED and not before.stage.is_live


def _leaves(move: SeedMove) -> bool:
    return move.before.stage.is_live and move.now.stage in _UNBORN


def _is_surgery(move: SeedMove) -> bool:
    if move.now.stage.is_failed:
        return not move.before.stage.is_failed
    revived = move.now.stage.is_live and move.before.stage.is_failed
    return revived or move.now.stage in _SURGICAL
