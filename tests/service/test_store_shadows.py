"""What every store keeps of models and shadow policies; the same tests run over each."""

from __future__ import annotations

import asyncio

from tamiyo_service.store import Store
from tamiyo_service.store.expired import Cutoffs
from tamiyo_service.store.models import ActivationRow, ModelVersion
from tamiyo_service.store.rows import Entry, RunRow
from tamiyo_service.store.shadows import SHARES, Chosen, ShadowRow, Share

from tests.service.test_store import append, create, entry

LONG = 1_000


def shadow(run: RunRow, seq: int, version: str = "1", **fields: object) -> ShadowRow:
    values: dict[str, object] = {
        "policy": "learned",
        "attempt": 0,
        "epoch": seq,
        "at": 7,
        "agrees": seq % 2 == 0,
        "action": "WAIT",
        "sha256": None,
        "commands": '["ü"]',
        "slots": "[]",
        "state": f"[{seq}]",
    }
    return ShadowRow(run_pk=run.run_pk, seq=seq, version=version, **(values | fields))  # type: ignore[arg-type]  # mixed values


async def take_all(store: Store, holder: str = "me", now: int = 0, until: int = 10) -> list[Share]:
    """Every share that has something to do, taken by as many holders as that needs."""
    taken: list[Share] = []
    for number in range(SHARES):
        taken += await store.shadows.take(f"{holder}-{number}", now, until)
    return taken


async def reported(store: Store, run_id: str = "run", count: int = 3) -> tuple[RunRow, list[Entry]]:
    run = await create(store, run_id)
    entries = [entry(run, seq, seq) for seq in range(1, count + 1)]
    await append(store, *entries)
    return run, entries


def activation(version: str, topology: str = "cnn", previous: str | None = None) -> ActivationRow:
    return ActivationRow(1, topology, "small", version, "ab", previous, "better")


async def test_activations_are_told_the_newest_first(store: Store) -> None:
    rows = [activation("1"), activation("2", previous="small-1"), activation("1", "transformer")]
    for row in rows:
        assert await store.models.activate(row) == row
    assert await store.models.activations("cnn", 10) == [rows[1], rows[0]]
    assert await store.models.activations(None, 2) == [rows[2], rows[1]]
    assert await store.models.activations("mine", 10) == []


async def test_an_activation_knows_what_was_active_before(store: Store) -> None:
    first = await store.models.activate(activation("1", previous="shipped-1"))
    assert first.previous == "shipped-1"
    second = await store.models.activate(activation("2", previous="shipped-1"))
    assert second.previous == "small-1"
    assert await store.models.activate(activation("2", previous="shipped-1")) == second
    assert await store.models.activations("cnn", 10) == [second, first]
    again = await store.models.activate(activation("2")._replace(reason="for good"))
    assert (again.previous, again.reason) == ("small-1", "for good")
    assert await store.models.activations("cnn", 10) == [again, second, first]


async def test_activations_at_once_follow_one_another(store: Store) -> None:
    await asyncio.gather(*(store.models.activate(activation(str(number))) for number in range(12)))
    rows = await store.models.activations("cnn", 100)
    assert len(rows) == 12
    before = [None if row is None else row.policy_version for row in (*rows[1:], None)]
    assert [row.previous for row in rows] == before


async def test_a_version_stays_what_it_was_when_it_was_first_used(store: Store) -> None:
    first = ModelVersion("small", "1", "ab", 1)
    assert await store.models.remember(first) == first
    assert await store.models.remember(ModelVersion("small", "1", "cd", 2)) == first
    other = ModelVersion("small", "2", "cd", 3)
    assert await store.models.remember(other) == other
    assert sorted(await store.models.remembered()) == [first, other]


async def test_following_begins_with_what_comes_next(store: Store) -> None:
    await reported(store, "before")
    await store.shadows.begin()
    assert await take_all(store) == []
    run, entries = await reported(store, "after")
    shares = {share.number: share for share in await take_all(store)}
    assert len(shares) == SHARES
    share = shares[run.run_pk % SHARES]
    settled = await store.shadows.settled()
    found = await store.shadows.follow(share, settled, 10)
    assert [(one.run_id, one.config, one.entry, one.before) for one in found] == [
        ("after", "{}", entries[0], None),
        ("after", "{}", entries[1], entries[0]),
        ("after", "{}", entries[2], entries[1]),
    ]
    others = [s for number, s in shares.items() if number != run.run_pk % SHARES]
    assert [await store.shadows.follow(other, settled, 10) for other in others] == [[]] * len(others)


async def test_following_goes_on_after_a_position_and_takes_a_page(store: Store) -> None:
    await store.shadows.begin()
    run, entries = await reported(store)
    await append(store, entry(run, 4), entry(run, 5, 5))
    settled = await store.shadows.settled()
    share = Share(run.run_pk % SHARES, 0)
    page = await store.shadows.follow(share, settled, 2)
    assert [one.entry for one in page] == entries[:2]
    rest = await store.shadows.follow(share._replace(position=page[-1].position), settled, 10)
    assert [(one.entry.seq, one.before and one.before.seq) for one in rest] == [(3, 2), (5, 4)]
    assert await store.shadows.follow(share, page[0].position, 10) == []


async def test_a_share_is_held_by_one_until_it_is_put_back_or_the_time_is_up(store: Store) -> None:
    await store.shadows.begin()
    await reported(store)
    first = await store.shadows.take("one", 0, 10)
    second = await store.shadows.take("two", 0, 10)
    assert first
    assert second
    assert not set(first) & set(second)
    await take_all(store, "three")
    assert await store.shadows.take("four", 5, 20) == []
    await store.shadows.put("one", first, [])
    assert set(await take_all(store, "four", 5, 20)) == set(first)
    assert len(await take_all(store, "five", 21, 30)) == SHARES


async def test_a_holder_that_could_not_put_its_shares_back_takes_them_again(store: Store) -> None:
    await store.shadows.begin()
    await reported(store)
    held = await store.shadows.take("one", 0, 10)
    assert await store.shadows.take("one", 1, 11) == held
    assert len(await take_all(store, "two", 1, 11)) == SHARES - len(held)
    assert await store.shadows.take("three", 11, 20) == []
    assert len(await take_all(store, "three", 12, 20)) == SHARES


async def test_who_has_lost_a_share_does_not_move_it(store: Store) -> None:
    await store.shadows.begin()
    await reported(store)
    lost = await store.shadows.take("one", 0, 10)
    assert await store.shadows.take("two", 11, 20) == lost
    await store.shadows.put("one", [share._replace(position=99) for share in lost], [])
    await store.shadows.put("two", lost, [])
    assert await store.shadows.take("three", 12, 20) == lost


async def test_shares_that_have_come_to_the_end_are_not_offered(store: Store) -> None:
    await store.shadows.begin()
    await reported(store)
    end = await store.shadows.settled() - 1
    while shares := await store.shadows.take("me", 0, 10):
        await store.shadows.put("me", [share._replace(position=end) for share in shares], [])
    assert await take_all(store) == []
    await reported(store, "more")
    assert len(await take_all(store)) == SHARES


async def test_shadow_decisions_come_back_as_they_went_in_and_stay(store: Store) -> None:
    await store.shadows.begin()
    run, _ = await reported(store)
    rows = [shadow(run, 1, "1"), shadow(run, 1, "2", sha256="ab"), shadow(run, 2, "1")]
    assert await store.shadows.put("me", [], rows) == 3
    assert await store.shadows.put("me", [], [shadow(run, 1, "1", action="CULL"), shadow(run, 3)]) == 1
    assert await store.shadows.of_report(run.run_pk, 1) == rows[:2]
    assert await store.shadows.of_report(run.run_pk, 4) == []
    one, two = Chosen(run.run_pk, "learned", "1"), Chosen(run.run_pk, "learned", "2")
    latest = await store.shadows.latest([one, two, Chosen(run.run_pk, "mine", "1")])
    assert latest == {one: shadow(run, 3), two: rows[1]}
    assert await store.shadows.decided(one, 2) == rows[2]
    assert await store.shadows.decided(two, 2) is None


async def test_shadow_decisions_go_with_their_run(store: Store) -> None:
    kept, _ = await reported(store, "kept")
    gone, _ = await reported(store, "gone")
    await store.shadows.put("me", [], [shadow(kept, 1), shadow(gone, 1)])
    await store.delete_run(gone.run_pk, 0)
    assert await store.shadows.of_report(gone.run_pk, 1) == []
    assert await store.shadows.put("me", [], [shadow(gone, 2), shadow(kept, 2)]) == 1
    assert len(await store.shadows.of_report(kept.run_pk, 2)) == 1


async def test_many_shadow_decisions_are_added_and_erased(store: Store) -> None:
    run, _ = await reported(store)
    for start in range(1, LONG + 1, 100):
        await store.shadows.put("me", [], [shadow(run, seq) for seq in range(start, start + 100)])
    (found,) = (await store.expired(Cutoffs(None, LONG * LONG), 0, 10)).runs
    assert await store.retire([found], 0, to_archive=False) == [found]
    while await store.erase(run.run_pk, 250):
        continue
    assert await store.shadows.of_report(run.run_pk, LONG) == []
    assert await store.retired(1, 10) == []


async def test_reports_of_runs_on_their_way_out_are_not_followed(store: Store) -> None:
    await store.shadows.begin()
    run, _ = await reported(store)
    (found,) = (await store.expired(Cutoffs(None, LONG * LONG), 0, 10)).runs
    await store.retire([found], 0, to_archive=False)
    settled = await store.shadows.settled()
    assert await store.shadows.follow(Share(run.run_pk % SHARES, 0), settled, 10) == []
