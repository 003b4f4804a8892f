"""Which decisions of a run still count: rewinds discard what came after the epoch they went back to."""

from __future__ import annotations

from collections.abc import Sequence

from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import DecisionKey, Entry, OutcomeRow, Rewind


def is_superseded(attempt: int, epoch: int, rewinds: Sequence[Rewind]) -> bool:
    """Whether a later rewind discarded the decision about that epoch."""
    return any(rewind.attempt > attempt and epoch > rewind.kept_epoch for rewind in rewinds)


def last_attempt(attempt: int, epoch: int, rewinds: Sequence[Rewind]) -> int:
    """The last attempt in which the decision about that epoch counted; the rewinds in order."""
    later = (rewind for rewind in rewinds if rewind.attempt > attempt)
    for rewind in later:
        if epoch > rewind.kept_epoch:
            return rewind.attempt - 1
        attempt = rewind.attempt
    return attempt


def known_in(
    attempt: int, outcomes: Sequence[OutcomeRow], rewinds: Sequence[Rewind]
) -> tuple[OutcomeRow, ...]:
    """Those of some outcomes that the run knew of in an attempt: neither later ones nor discarded ones."""
    before = [rewind for rewind in rewinds if rewind.attempt <= attempt]
    return tuple(row for row in outcomes if _is_known(row, attempt, before))


def told_of(
    key: DecisionKey, outcomes: Sequence[OutcomeRow], rewinds: Sequence[Rewind]
) -> tuple[OutcomeRow, ...]:
    """The outcomes of a decision's commands, as they stood as long as the decision counted."""
    return known_in(last_attempt(key.attempt, key.epoch, rewinds), outcomes, rewinds) if outcomes else ()


def _is_known(row: OutcomeRow, attempt: int, before: Sequence[Rewind]) -> bool:
    if row.known_attempt is None:
        return True
    discarded = is_superseded(row.known_attempt, row.known_epoch, before)
    return row.known_attempt <= attempt and not discarded


async def kept_up_to(
    store: Store, run_pk: int, to_epoch: int | None, attempt: int, rewinds: Sequence[Rewind]
) -> Entry | None:
    """The last report up to `to_epoch` that no rewind has discarded; None: there is none.

    Args:
        store: where reports are looked up.
        run_pk: the run.
        to_epoch: included; None: keep nothing.
        attempt: the current attempt.
        rewinds: of the run, in order of their attempts.
    """
    if to_epoch is None:
        return None
    limit = to_epoch
    opened_by = {rewind.attempt: rewind for rewind in rewinds}
    for number in range(attempt, -1, -1):
        found = await store.report_up_to(run_pk, number, limit)
        if found is not None:
            return found
        if number in opened_by:
            limit = min(limit, opened_by[number].to_epoch)
    return None
