"""Models and shadow policies in memory, for the store in memory."""
# ruff: noqa: D102 - the methods are described once, by ModelStore and ShadowStore

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from tamiyo_service.store.memory_journal import MemoryJournal
from tamiyo_service.store.models import ActivationRow, ModelVersion
from tamiyo_service.store.rows import Entry, RunRow
from tamiyo_service.store.shadows import SHARES, Chosen, Followed, ShadowRow, Share


class MemoryModels:
    """See `ModelStore`."""

    def __init__(self) -> None:
        self._activations: list[ActivationRow] = []
        self._versions: dict[tuple[str, str], ModelVersion] = {}

    async def activate(self, row: ActivationRow) -> ActivationRow:
        last = next((one for one in reversed(self._activations) if one.topology == row.topology), None)
        kept = row.after(last)
        if kept is not last:
            self._activations.append(kept)
        return kept

    async def activations(self, topology: str | None, limit: int) -> list[ActivationRow]:
        newest = reversed(self._activations)
        return list(islice((row for row in newest if topology in (None, row.topology)), limit))

    async def remember(self, used: ModelVersion) -> ModelVersion:
        return self._versions.setdefault((used.name, used.version), used)

    async def remembered(self) -> list[ModelVersion]:
        return list(self._versions.values())


@dataclass
class _Held:
    """A share as it stands."""

    position: int
    holder: str | None = None
    until: int = 0


class MemoryShadows:
    """See `ShadowStore`.

    Args:
        journal: every entry with its number.
        run: the run of that key, if it is there.
        before: the input just before an entry.
    """

    def __init__(
        self,
        journal: MemoryJournal,
        run: Callable[[int], RunRow | None],
        before: Callable[[Entry], Entry | None],
    ) -> None:
        self._journal = journal
        self._run = run
        self._before = before
        self._shares: dict[int, _Held] = {}
        self._rows: dict[tuple[Chosen, int], ShadowRow] = {}

    def forget(self, run_pk: int) -> None:
        """Remove what was decided about a run."""
        self._rows = {key: row for key, row in self._rows.items() if row.run_pk != run_pk}

    async def begin(self) -> None:
        position = await self.settled() - 1
        for number in range(SHARES):
            self._shares.setdefault(number, _Held(position))

    async def take(self, holder: str, now: int, until: int) -> list[Share]:
        settled = await self.settled()
        free = [
            Share(number, held.position)
            for number, held in self._shares.items()
            if held.position < settled - 1 and (held.holder in (None, holder) or held.until < now)
        ]
        taken = sorted(free, key=lambda share: (share.position, share.number))[: (len(free) + 1) // 2]
        for share in taken:
            self._shares[share.number] = _Held(share.position, holder, until)
        return taken

    async def settled(self) -> int:
        return self._journal.next

    async def follow(self, share: Share, until: int, limit: int) -> list[Followed]:
        found: list[Followed] = []
        for number, entry in self._journal.entries.items():
            run = self._run(entry.run_pk)
            mine = share.position < number < until and entry.run_pk % SHARES == share.number
            if mine and entry.epoch is not None and run is not None and len(found) < limit:
                found.append(Followed(number, run.run_id, run.config, entry, self._before(entry)))
        return found

    async def put(self, holder: str, shares: Sequence[Share], rows: Sequence[ShadowRow]) -> int:
        known = len(self._rows)
        for row in rows:
            if self._run(row.run_pk) is not None:
                self._rows.setdefault((Chosen(row.run_pk, row.policy, row.version), row.seq), row)
        for share in shares:
            if self._shares[share.number].holder == holder:
                self._shares[share.number] = _Held(share.position)
        return len(self._rows) - known

    async def of_report(self, run_pk: int, seq: int) -> list[ShadowRow]:
        found = [row for row in self._rows.values() if (row.run_pk, row.seq) == (run_pk, seq)]
        return sorted(found, key=lambda row: (row.policy, row.version))

    async def latest(self, chosen: Sequence[Chosen]) -> dict[Chosen, ShadowRow]:
        found: dict[Chosen, ShadowRow] = {}
        for (one, seq), row in self._rows.items():
            if one in chosen and (one not in found or found[one].seq < seq):
                found[one] = row
        return found

    async def decided(self, chosen: Chosen, seq: int) -> ShadowRow | None:
        return self._rows.get((chosen, seq))
