"""What every store must do; the same tests run over each."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tamiyo_leyline import RunStatus
from tamiyo_service.errors import TamiyoError, VersionConflictError
from tamiyo_service.store import Store
from tamiyo_service.store.rows import (
    ClientDecisionRow,
    DecisionFilter,
    DecisionKey,
    Entry,
    InputKind,
    NewRun,
    OutcomeRow,
    Rewind,
    RunFilter,
    RunRow,
    StatusRow,
    Write,
)


async def create(store: Store, run_id: str = "run", **fields: object) -> RunRow:
    values = {"config": "{}", "rules_version": "1", "policy": "heuristic", "created_at": 0} | fields
    run, created = await store.create_run(NewRun(run_id=run_id, **values))  # type: ignore[arg-type]  # mixed values
    assert created
    return run


def entry(run: RunRow, seq: int, epoch: int | None = None, **fields: object) -> Entry:
    values: dict[str, object] = {
        "kind": InputKind.HOLD if epoch is None else InputKind.REPORT,
        "attempt": 0,
        "at": 1000 * seq,
        "action": None if epoch is None else "WAIT",
        "risk": None if epoch is None else 1,
        "policy": None if epoch is None else "heuristic",
        "backfill": False,
        "hold": None,
        "warnings": None,
        "events": None,
        "payload": "{}",
        "reply": None if epoch is None else '{"reply": "ü"}',
        "state": f"[{seq}]",
    }
    return Entry(run_pk=run.run_pk, seq=seq, epoch=epoch, **(values | fields))  # type: ignore[arg-type]  # mixed values


async def last_entry(store: Store, run_id: str = "run") -> Entry | None:
    loaded = await store.load(run_id)
    return None if loaded is None else loaded[1]


def unheard(_error: TamiyoError | None) -> None:
    return


async def append(store: Store, *entries: Entry) -> None:
    await store.append(Write(entries), unheard)


async def test_the_end_of_a_write_is_told_even_if_nobody_waits(store: Store) -> None:
    run = await create(store)
    told: list[TamiyoError | None] = []
    abandoned = store.append(Write((entry(run, 1, 5),)), told.append)
    abandoned.cancel()
    await append(store, entry(run, 2, 6))
    with pytest.raises(VersionConflictError):
        await store.append(Write((entry(run, 2, 7),)), told.append)
    assert [type(error) for error in told] == [type(None), VersionConflictError]
    last = await last_entry(store)
    assert last is not None
    assert last.seq == 2


async def test_a_run_is_found_as_it_was_created(store: Store) -> None:
    run = await create(store, "a", config='{"x": 1}', created_at=1_700_000_000_123_456)
    assert await store.run("a") == run
    assert run.config == '{"x": 1}'
    assert run.created_at == 1_700_000_000_123_456
    assert run.status is RunStatus.ACTIVE
    assert await store.run("b") is None
    assert await store.load("a") == (run, None)
    assert await store.load("b") is None


async def test_creating_a_run_again_leaves_it_as_it_is(store: Store) -> None:
    run = await create(store, "a")
    again, created = await store.create_run(NewRun("a", '{"other": true}', "2", "learned", 99))
    assert (again, created) == (run, False)


async def test_runs_created_at_the_same_time_are_one(store: Store) -> None:
    new = NewRun("a", "{}", "1", "heuristic", 0)
    results = await asyncio.gather(*(store.create_run(new) for _ in range(20)))
    assert len({run.run_pk for run, _ in results}) == 1
    assert sum(created for _, created in results) == 1


@pytest.mark.parametrize("advice", [None, "[[[-0.105361,null,-2.302585],0.25,0.03]]", '"tóo late"'])
async def test_an_entry_comes_back_as_it_went_in(store: Store, advice: str | None) -> None:
    run = await create(store)
    values = {"hold": "held", "warnings": '["w"]', "events": "[]", "backfill": True, "action": "CULL"}
    written = entry(run, 1, 5, attempt=0, risk=4, advice=advice, **values)
    await append(store, written)
    assert await last_entry(store) == written
    assert await store.report(DecisionKey(run.run_pk, 0, 5)) == written


async def test_last_entry_is_the_one_with_the_highest_number(store: Store) -> None:
    run = await create(store)
    assert await last_entry(store) is None
    await append(store, entry(run, 1, 5), entry(run, 2), entry(run, 3, 6))
    last = await last_entry(store)
    assert last is not None
    assert last.seq == 3


async def test_entry_before_is_the_input_just_before(store: Store) -> None:
    run = await create(store)
    await append(store, entry(run, 1, 5), entry(run, 2), entry(run, 3, 6))
    assert await store.entry_before(run.run_pk, 3) == entry(run, 2)
    assert await store.entry_before(run.run_pk, 1) is None


async def test_a_taken_number_is_refused(store: Store) -> None:
    run = await create(store)
    await append(store, entry(run, 1, 5))
    with pytest.raises(VersionConflictError):
        await append(store, entry(run, 1, 6))
    assert await store.report(DecisionKey(run.run_pk, 0, 6)) is None


async def test_a_taken_epoch_is_refused(store: Store) -> None:
    run = await create(store)
    await append(store, entry(run, 1, 5))
    with pytest.raises(VersionConflictError):
        await append(store, entry(run, 2, 5))
    last = await last_entry(store)
    assert last is not None
    assert last.seq == 1


async def test_the_same_epoch_of_another_attempt_is_another_report(store: Store) -> None:
    run = await create(store)
    await append(store, entry(run, 1, 5), entry(run, 2, 5, attempt=1))
    latest = await store.latest_report(run.run_pk, 5)
    assert latest is not None
    assert latest.attempt == 1
    assert await store.latest_report(run.run_pk, 6) is None


async def test_inputs_that_are_no_reports_do_not_collide(store: Store) -> None:
    run = await create(store)
    await append(store, entry(run, 1), entry(run, 2), entry(run, 3))
    last = await last_entry(store)
    assert last is not None
    assert last.seq == 3


async def test_a_write_is_all_or_nothing(store: Store) -> None:
    run = await create(store)
    await append(store, entry(run, 1, 5))
    outcome = OutcomeRow(run.run_pk, 0, 5, "run@0.5.1", "EXECUTED", 6, "")
    status = StatusRow(run.run_pk, RunStatus.COMPLETED, "failed")
    with pytest.raises(VersionConflictError):
        await store.append(Write((entry(run, 2, 6), entry(run, 1, 7)), (outcome,), status), unheard)
    assert await last_entry(store) == entry(run, 1, 5)
    assert await store.outcomes([DecisionKey(run.run_pk, 0, 5)]) == {}
    assert await store.run("run") == run


async def test_an_entry_of_a_run_that_is_gone_is_refused(store: Store) -> None:
    run = await create(store)
    await store.delete_run(run.run_pk, 0)
    with pytest.raises(VersionConflictError):
        await append(store, entry(run, 1, 5))


async def test_a_write_changes_the_status(store: Store) -> None:
    run = await create(store)
    completed = StatusRow(run.run_pk, RunStatus.COMPLETED, "failed")
    await store.append(Write((entry(run, 1),), status=completed), unheard)
    changed = await store.run("run")
    assert changed is not None
    assert (changed.status, changed.result) == (RunStatus.COMPLETED, "failed")


async def test_report_up_to_finds_the_last_one_within_the_limit(store: Store) -> None:
    run = await create(store)
    await append(store, entry(run, 1, 2), entry(run, 2), entry(run, 3, 7), entry(run, 4, 9, attempt=1))
    found = await store.report_up_to(run.run_pk, 0, 8)
    assert found is not None
    assert found.epoch == 7
    assert await store.report_up_to(run.run_pk, 0, 1) is None
    assert await store.report_up_to(run.run_pk, 1, 8) is None


async def test_rewinds_come_by_run_in_order(store: Store) -> None:
    run, other = await create(store, "a"), await create(store, "b")
    first, second = '{"to_epoch": 3, "resumed_epoch": 2}', '{"to_epoch": null, "resumed_epoch": null}'
    await append(
        store,
        entry(run, 1, kind=InputKind.REWIND, attempt=1, payload=first),
        entry(run, 2, kind=InputKind.REWIND, attempt=2, payload=second),
    )
    found = await store.rewinds([run.run_pk, other.run_pk])
    assert found == {run.run_pk: (Rewind(1, 3, 2), Rewind(2, -1, None))}


async def test_outcomes_come_by_decision_in_order(store: Store) -> None:
    run = await create(store)
    rows = (
        OutcomeRow(run.run_pk, 0, 5, "run@0.5.1", "EXPIRED", 7, ""),
        OutcomeRow(run.run_pk, 0, 5, "run@0.5.1", "EXECUTED", 8, "late"),
    )
    await store.append(Write((entry(run, 1, 8),), rows), unheard)
    key = DecisionKey(run.run_pk, 0, 5)
    assert await store.outcomes([key, DecisionKey(run.run_pk, 0, 6)]) == {key: rows}
    assert await store.outcomes([]) == {}


async def test_overview_counts_reports_by_action(store: Store) -> None:
    run = await create(store)
    entries = [
        entry(run, 1, 1),
        entry(run, 2, 2),
        entry(run, 3, 3, action="CULL"),
        entry(run, 4),
    ]
    await append(store, *entries)
    overview = (await store.overviews([run.run_pk]))[run.run_pk]
    assert overview.counts == {"CULL": 1, "WAIT": 2}
    assert overview.last == entries[-1]
    assert overview.last_report_at == 3000


async def test_overview_of_a_run_without_inputs_is_empty(store: Store) -> None:
    run = await create(store)
    overview = (await store.overviews([run.run_pk]))[run.run_pk]
    assert overview == (None, None, {})


async def test_client_decisions_are_recorded_once(store: Store) -> None:
    run = await create(store)
    rows = [ClientDecisionRow(run.run_pk, 0, epoch, 1, "{}") for epoch in (1, 2)]
    assert await store.add_client_decisions(rows) == 2
    assert await store.add_client_decisions([*rows, ClientDecisionRow(run.run_pk, 0, 3, 1, "{}")]) == 1
    assert await store.add_client_decisions([]) == 0


async def test_deleting_a_run_removes_everything_of_it(store: Store) -> None:
    run, other = await create(store, "a", labels=(("k", "v"),)), await create(store, "b")
    outcome = OutcomeRow(run.run_pk, 0, 1, "a@0.1.1", "FAILED", 2, "")
    await store.append(Write((entry(run, 1, 1),), (outcome,)), unheard)
    await append(store, entry(other, 1, 1))
    await store.add_client_decisions([ClientDecisionRow(run.run_pk, 0, 1, 1, "{}")])
    await store.delete_run(run.run_pk, 0)
    assert await store.run("a") is None
    assert await store.load("a") is None
    assert (await store.overviews([run.run_pk]))[run.run_pk].last is None
    assert await store.outcomes([DecisionKey(run.run_pk, 0, 1)]) == {}
    assert (await store.runs(RunFilter(labels=(("k", "v"),)), 10)).rows == []
    assert [row.run_id for row in (await store.decisions(DecisionFilter(), 10)).rows] == ["b"]
    anew = await create(store, "a")
    assert anew.run_pk not in (run.run_pk, other.run_pk)
    assert await store.add_client_decisions([ClientDecisionRow(anew.run_pk, 0, 1, 1, "{}")]) == 1


async def decided(store: Store, wanted: DecisionFilter, limit: int = 100) -> list[int]:
    return [row.entry.seq for row in (await store.decisions(wanted, limit)).rows]


async def history(store: Store) -> RunRow:
    run = await create(store)
    await append(
        store,
        entry(run, 1, 1),
        entry(run, 2, 2, action="GERMINATE_NORM", risk=2),
        entry(run, 3),
        entry(run, 4, 5, action="CULL", risk=4, policy="learned"),
        entry(run, 5, 6, action="GERMINATE_LORA", risk=2),
        entry(run, 6, 7),
    )
    return run


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [6, 5, 4, 2, 1]),
        ({"ascending": True}, [1, 2, 4, 5, 6]),
        ({"actions": frozenset({"CULL"})}, [4]),
        ({"actions": frozenset({"WAIT"})}, [6, 1]),
        ({"germinate": True}, [5, 2]),
        ({"germinate": True, "actions": frozenset({"WAIT", "CULL"})}, [6, 5, 4, 2, 1]),
        ({"actions": frozenset({"GERMINATE_NORM", "CULL"})}, [4, 2]),
        ({"since_epoch": 2, "until_epoch": 6}, [5, 4, 2]),
        ({"policy": "learned"}, [4]),
        ({"risk": 2}, [5, 2]),
        ({"since": 2000, "until": 5000}, [4, 2]),
        ({"policy": "heuristic", "risk": 1, "until_epoch": 1}, [1]),
    ],
)
async def test_decisions_pass_every_filter(
    store: Store, wanted: dict[str, object], expected: list[int]
) -> None:
    run = await history(store)
    assert await decided(store, DecisionFilter(**wanted)) == expected  # type: ignore[arg-type]  # mixed values
    assert await decided(store, DecisionFilter(run_pk=run.run_pk, **wanted)) == expected  # type: ignore[arg-type]  # mixed values


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("within_run", [True, False])
async def test_decisions_continue_after_a_position(store: Store, ascending: bool, within_run: bool) -> None:
    run = await history(store)
    run_pk = run.run_pk if within_run else None
    seen: list[int] = []
    after = None
    while True:
        wanted = DecisionFilter(run_pk=run_pk, ascending=ascending, after=after)
        page = await store.decisions(wanted, 2)
        seen += [row.entry.seq for row in page.rows]
        after = page.resume
        if after is None:
            break
    assert seen == ([1, 2, 4, 5, 6] if ascending else [6, 5, 4, 2, 1])


async def test_who_goes_forward_through_all_runs_meets_what_is_stored_late(store: Store) -> None:
    run, other = await create(store, "a"), await create(store, "b")
    await append(store, *(entry(run, seq, seq, at=1_000_000 * seq) for seq in (1, 2, 3)))
    first = await store.decisions(DecisionFilter(ascending=True), 2)
    assert [row.entry.seq for row in first.rows] == [1, 2]
    # What another process has decided meanwhile: two before the end of that page, one after it.
    moments = (1_500_000, 1_600_000, 2_500_000)
    await append(store, *(entry(other, seq, seq, at=at) for seq, at in enumerate(moments, 1)))
    for limit in (1, 2, 3, 10):
        seen, resume = list[int](), first.resume
        while resume is not None:
            page = await store.decisions(DecisionFilter(ascending=True, after=resume), limit)
            assert len(page.rows) <= limit
            seen += [row.entry.at for row in page.rows]
            resume = page.resume
        assert seen == [1_500_000, 1_600_000, 2_500_000, 3_000_000]


async def test_decisions_of_one_run_leave_out_others(store: Store) -> None:
    run = await history(store)
    other = await create(store, "other")
    await append(store, entry(other, 1, 1, at=7000))
    assert len((await store.decisions(DecisionFilter(run_pk=run.run_pk), 100)).rows) == 5
    everything = (await store.decisions(DecisionFilter(), 100)).rows
    assert everything[0].run_id == "other"
    assert len(everything) == 6


async def found(store: Store, **wanted: object) -> list[str]:
    rows = await store.runs(RunFilter(**wanted), 100)  # type: ignore[arg-type]  # mixed values
    return [row.run_id for row in rows.rows]


async def test_runs_pass_every_filter(store: Store) -> None:
    a = await create(store, "a", labels=(("team", "vision"), ("gpu", "1")), created_at=10)
    await create(store, "b", labels=(("team", "vision"),), policy="learned", created_at=20)
    c = await create(store, "c", labels=(("team", "speech"),), created_at=30)
    held = StatusRow(a.run_pk, RunStatus.HELD, None)
    await store.append(Write((entry(a, 1, 1, at=100),), status=held), unheard)
    await append(store, entry(c, 1, 1, at=40), entry(c, 2, at=500))
    assert await found(store) == ["c", "b", "a"]
    assert await found(store, labels=(("team", "vision"),)) == ["b", "a"]
    assert await found(store, labels=(("team", "vision"), ("gpu", "1"))) == ["a"]
    assert await found(store, labels=(("vision", "team"),)) == []
    assert await found(store, policy="learned") == ["b"]
    assert await found(store, status=RunStatus.HELD) == ["a"]
    assert await found(store, status=RunStatus.ACTIVE) == ["c", "b"]
    assert await found(store, silent_since=40) == ["c", "b"]
    assert await found(store, silent_since=19) == []
    assert await found(store, after=(c.run_pk,)) == ["b", "a"]


async def test_a_limit_cuts_lists_off(store: Store) -> None:
    await history(store)
    await create(store, "b")
    assert len((await store.decisions(DecisionFilter(), 2)).rows) == 2
    assert len((await store.runs(RunFilter(), 1)).rows) == 1


async def test_a_store_that_is_open_answers_and_is_idle(store: Store) -> None:
    await store.check()
    assert store.write_age() == 0.0


async def test_many_runs_append_at_the_same_time(store: Store) -> None:
    runs = [await create(store, f"run-{number}") for number in range(40)]
    for epoch in range(5):
        await asyncio.gather(*(store.append(Write((entry(run, epoch + 1, epoch),)), unheard) for run in runs))
    assert len((await store.decisions(DecisionFilter(), 1000)).rows) == 200
    for run in runs:
        assert await decided(store, DecisionFilter(run_pk=run.run_pk)) == [5, 4, 3, 2, 1]


async def test_a_refused_write_leaves_those_beside_it_alone(store: Store) -> None:
    runs = [await create(store, f"run-{number}") for number in range(20)]
    await append(store, entry(runs[7], 1, 0))
    writes = (store.append(Write((entry(run, 1, 1),)), unheard) for run in runs)
    ended = await asyncio.gather(*writes, return_exceptions=True)
    assert [number for number, error in enumerate(ended) if error is not None] == [7]
    assert isinstance(ended[7], VersionConflictError)
    for number, run in enumerate(runs):
        assert await decided(store, DecisionFilter(run_pk=run.run_pk)) == [1], number


async def test_decisions_of_a_run_are_counted_by_action(store: Store) -> None:
    run, other = await create(store), await create(store, "other")
    actions = {1: "WAIT", 2: "CULL", 3: "WAIT", 4: "GERMINATE_NORM"}
    await append(store, *(entry(run, seq, seq, action=action) for seq, action in actions.items()))
    await append(store, entry(run, 5), entry(other, 1, 1))
    wanted = DecisionFilter(run_pk=run.run_pk)
    assert await store.decision_counts(wanted) == {"CULL": 1, "GERMINATE_NORM": 1, "WAIT": 2}
    assert await store.decision_counts(replace(wanted, germinate=True)) == {"GERMINATE_NORM": 1}
    assert await store.decision_counts(replace(wanted, since_epoch=3, after=(4,))) == {
        "GERMINATE_NORM": 1, "WAIT": 1,
    }  # fmt: skip
