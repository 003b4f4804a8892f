"""Which decisions of a run still count: rewinds discard what came after the epoch they went back to."""

from __future__ import annotations

from collections.abc import Sequence

from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import Entry, Rewind


def is_superseded(attempt: int, epoch: int, rewinds: Sequence[Rewind]) -> bool:
    """Whether a later rewind discarded the decision about that epoch."""
    return any(rewind.attempt > attempt and epoch > rewind.kept_epoch for rewind in rewinds)


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
