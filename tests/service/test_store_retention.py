"""What every store must do with runs that expire; the same tests run over each."""

from __future__ import annotations

import asyncio

import pytest
from tamiyo_leyline import RunStatus
from tamiyo_service.errors import VersionConflictError
from tamiyo_service.store import SqlStore, Store
from tamiyo_service.store.expired import Belonging, Cutoffs, Expired
from tamiyo_service.store.rows import (
    ClientDecisionRow,
    DecisionFilter,
    Entry,
    OutcomeRow,
    RunFilter,
    RunRow,
    StatusRow,
    Write,
)

from tests.service.test_store import append, create, entry, unheard

EVERYTHING = Cutoffs(completed=10**15, silent=10**15)


async def look(store: Store, cutoffs: Cutoffs = EVERYTHING) -> list[Expired]:
    page = await store.expired(cutoffs, 0, 1000)
    return list(page.runs)


async def due(store: Store, **cutoffs: int | None) -> list[str]:
    wanted = Cutoffs(**({"completed": None, "silent": None} | cutoffs))
    return [found.run.run_id for found in await look(store, wanted)]


async def retire(store: Store, run_id: str = "run", *, to_archive: bool = False) -> Expired:
    (found,) = [found for found in await look(store) if found.run.run_id == run_id]
    assert await store.retire([found], 5_000, to_archive=to_archive) == [found]
    return found


async def complete(store: Store, run: RunRow, seq: int) -> None:
    status = StatusRow(run.run_pk, RunStatus.COMPLETED, "succeeded")
    await store.append(Write((entry(run, seq),), status=status), unheard)


async def everything(store: Store, kind: type[Belonging], run: RunRow, limit: int = 2) -> list[Belonging]:
    rows: list[Belonging] = []
    after = 0
    while page := await store.belongings(kind, run.run_pk, after, limit):
        rows += [row for _, row in page]
        after = page[-1][0]
    return rows


async def test_a_run_expires_by_its_latest_input(store: Store) -> None:
    run = await create(store, created_at=500)
    await append(store, entry(run, 1, 1, at=1000), entry(run, 2, at=2000))
    assert await due(store, silent=1999) == []
    assert await due(store, silent=2000) == ["run"]


async def test_a_run_without_inputs_expires_by_its_creation(store: Store) -> None:
    await create(store, created_at=500)
    assert await due(store, silent=499) == []
    assert await due(store, silent=500) == ["run"]


async def test_what_a_trainer_decided_by_itself_counts_as_a_sign_of_life(store: Store) -> None:
    run = await create(store)
    await store.add_client_decisions([ClientDecisionRow(run.run_pk, 0, 1, 3000, "{}")])
    assert await due(store, silent=2999) == []
    assert await due(store, silent=3000) == ["run"]


async def test_completed_runs_and_others_have_limits_of_their_own(store: Store) -> None:
    completed, held = await create(store, "completed"), await create(store, "held")
    await create(store, "active")
    await complete(store, completed, 1)
    await store.append(Write((entry(held, 1),), status=StatusRow(held.run_pk, RunStatus.HELD, None)), unheard)
    assert await due(store) == []
    assert await due(store, completed=10_000) == ["completed"]
    assert await due(store, silent=10_000) == ["held", "active"]
    assert await due(store, completed=10_000, silent=0) == ["completed", "active"]


async def test_runs_are_looked_at_a_few_at_a_time(store: Store) -> None:
    for number in range(5):
        await create(store, f"run-{number}", created_at=number)
    pages = []
    last: int | None = 0
    while last is not None:
        page = await store.expired(Cutoffs(None, silent=2), last, 2)
        pages.append([found.run.run_id for found in page.runs])
        last = page.last
    assert pages == [["run-0", "run-1"], ["run-2"], [], []]


async def test_an_expired_run_is_told_of_as_it_is(store: Store) -> None:
    run = await create(store, config='{"x": 1}', created_at=7)
    await append(store, entry(run, 1, 1, at=1000), entry(run, 2, 2, at=1500))
    await store.add_client_decisions([ClientDecisionRow(run.run_pk, 0, 1, 900, "{}")])
    assert await look(store) == [Expired(run, 2, 1, 1500)]


async def test_nobody_finds_a_retired_run(store: Store) -> None:
    run = await create(store, labels=(("k", "v"),))
    await append(store, entry(run, 1, 1), entry(run, 2, 2, action="CULL"))
    await retire(store)
    assert await store.run("run") is None
    assert await store.load("run") is None
    assert (await store.runs(RunFilter(), 10)).rows == []
    assert (await store.runs(RunFilter(labels=(("k", "v"),)), 10)).rows == []
    for actions in (frozenset[str](), frozenset({"CULL"})):
        assert (await store.decisions(DecisionFilter(actions=actions), 10)).rows == []
    assert await look(store) == []


@pytest.mark.parametrize("inputs", [0, 3])
async def test_nothing_can_be_appended_to_a_retired_run(store: Store, inputs: int) -> None:
    run = await create(store)
    for seq in range(1, inputs + 1):
        await append(store, entry(run, seq, seq))
    await retire(store)
    with pytest.raises(VersionConflictError):
        await append(store, entry(run, inputs + 1, inputs + 1))


async def test_a_run_that_is_retired_or_deleted_takes_no_client_decisions(store: Store) -> None:
    run, other = await create(store), await create(store, "other")
    await append(store, entry(run, 1, 1))
    await retire(store)
    await store.delete_run(other.run_pk, 0)
    for gone in (run, other):
        assert await store.add_client_decisions([ClientDecisionRow(gone.run_pk, 0, 5, 1, "{}")]) is None
    assert await everything(store, ClientDecisionRow, run) == []


async def test_a_run_takes_client_decisions_or_is_retired_never_both(database_url: str) -> None:
    one, other = SqlStore(database_url), SqlStore(database_url)
    await one.open()
    await other.open()
    for number in range(20):
        run = await create(one, f"run-{number}")
        (found,) = (found for found in await look(one) if found.run == run)
        recorded, retired = await asyncio.gather(
            one.add_client_decisions([ClientDecisionRow(run.run_pk, 0, 1, 1, "{}")]),
            other.retire([found], 5_000, to_archive=True),
        )
        assert (recorded, retired) in ((1, []), (None, [found]))
    await other.close()
    await one.close()


async def test_the_version_of_a_retired_run_is_no_longer_what_it_was(store: Store) -> None:
    run = await create(store)
    await append(store, entry(run, 1, 1))
    await retire(store)
    assert await store.version(run.run_pk) != 1


async def test_a_run_that_reported_meanwhile_is_spared(store: Store) -> None:
    run, other = await create(store), await create(store, "other")
    await append(store, entry(run, 1, 1))
    found = await look(store)
    await append(store, entry(run, 2, 2))
    taken = await store.retire(found, 5_000, to_archive=False)
    assert [expired.run.run_id for expired in taken] == ["other"]
    assert await store.run("run") == run
    assert await store.run("other") is None
    await append(store, entry(run, 3, 3))
    assert await store.erase(other.run_pk, 10) > 0


async def test_a_run_that_sent_client_decisions_meanwhile_is_spared(store: Store) -> None:
    run = await create(store)
    found = await look(store)
    await store.add_client_decisions([ClientDecisionRow(run.run_pk, 0, 1, 1, "{}")])
    assert await store.retire(found, 5_000, to_archive=False) == []
    assert await store.run("run") == run


async def test_a_run_is_retired_once(store: Store) -> None:
    await create(store)
    found = await look(store)
    assert await store.retire(found, 5_000, to_archive=False) == found
    assert await store.retire(found, 5_000, to_archive=False) == []


async def test_a_run_that_was_deleted_or_made_anew_is_not_retired(store: Store) -> None:
    run = await create(store)
    found = await look(store)
    await store.delete_run(run.run_pk, 0)
    assert await store.retire(found, 5_000, to_archive=False) == []
    anew = await create(store)
    assert await store.retire(found, 5_000, to_archive=False) == []
    assert await store.run("run") == anew


async def test_the_name_of_a_retired_run_is_free(store: Store) -> None:
    run = await create(store)
    await append(store, entry(run, 1, 1))
    await retire(store)
    anew = await create(store)
    await append(store, entry(anew, 1, 9))
    while await store.erase(run.run_pk, 10):
        pass
    assert await store.run("run") == anew
    loaded = await store.load("run")
    assert loaded == (anew, entry(anew, 1, 9))


async def test_retired_runs_are_listed_until_they_are_erased(store: Store) -> None:
    run, other = await create(store), await create(store, "other")
    await append(store, entry(run, 1, 1))
    await retire(store, to_archive=True)
    await retire(store, "other")
    assert await store.retired(5_000, 10) == []
    assert await store.retired(5_001, 10) == [(run, True), (other, False)]
    assert await store.retired(5_001, 1) == [(run, True)]
    while await store.erase(run.run_pk, 10):
        pass
    assert await store.retired(5_001, 10) == [(other, False)]


async def test_a_run_is_erased_a_few_rows_at_a_time(store: Store) -> None:
    run, other = await create(store), await create(store, "other", labels=(("k", "v"),))
    outcomes = [OutcomeRow(run.run_pk, 0, 1, "run@0.1.1", "EXPIRED", 2, "") for _ in range(12)]
    await store.append(Write(tuple(entry(run, seq, seq) for seq in range(1, 51)), tuple(outcomes)), unheard)
    await store.add_client_decisions([ClientDecisionRow(run.run_pk, 0, epoch, 1, "{}") for epoch in range(7)])
    await append(store, entry(other, 1, 1))
    await retire(store)
    slices = []
    while erased := await store.erase(run.run_pk, 5):
        slices.append(erased)
    assert sum(slices) >= 50 + 12 + 7 + 1
    assert max(slices) <= 2 * 5 + 1
    assert await everything(store, Entry, run) == []
    assert await store.retired(10**15, 10) == []
    assert [row.run_id for row in (await store.decisions(DecisionFilter(), 10)).rows] == ["other"]
    assert (await store.runs(RunFilter(labels=(("k", "v"),)), 10)).rows == [other]


async def test_what_belongs_to_a_run_is_read_in_order_before_and_after_it_is_retired(store: Store) -> None:
    run, other = await create(store), await create(store, "other")
    entries = [entry(run, seq, seq, state=f'["ü", {seq}]') for seq in range(1, 6)]
    outcomes = [OutcomeRow(run.run_pk, 0, 1, f"run@0.1.{n}", "EXPIRED", 2, "why") for n in range(5)]
    told = [ClientDecisionRow(run.run_pk, 0, epoch, 1, "{}") for epoch in range(3)]
    await store.append(Write(tuple(entries), tuple(outcomes)), unheard)
    await store.add_client_decisions(told)
    await append(store, entry(other, 1, 1))
    for _ in range(2):
        assert await everything(store, Entry, run) == entries
        assert await everything(store, OutcomeRow, run) == outcomes
        assert await everything(store, ClientDecisionRow, run) == told
        if await store.run("run"):
            await retire(store)
