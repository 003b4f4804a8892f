"""What every store has to do with keys and sessions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tamiyo_service.auth.caller import Scope
from tamiyo_service.auth.tokens import new_key
from tamiyo_service.store import Store
from tamiyo_service.store.keys import Credential, KeyRow, SessionRow

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def key(name: str = "ci", *prefixes: str, at: int = 1_000) -> KeyRow:
    return new_key(name, Scope.TRAINER, prefixes, NOON).row._replace(created_at=at)


async def test_keys_are_listed_as_they_were_added_the_newest_first(store: Store) -> None:
    old, new = key("old", "team-a.", "team-b."), key("new", at=2_000)
    await store.keys.add(old)
    await store.keys.add(new)
    assert await store.keys.all() == [new, old]


async def test_a_key_is_found_by_its_hash_and_by_nothing_else(store: Store) -> None:
    one, other = key(), key()
    await store.keys.add(one)
    await store.keys.add(other)
    assert await store.keys.credentials([one.hash, "0" * 64]) == [Credential(one.hash, one, None)]
    assert await store.keys.credentials([one.key_id, one.hash.upper()]) == []
    assert await store.keys.credentials([]) == []


async def test_a_key_is_revoked_once_and_for_all(store: Store) -> None:
    row = key()
    await store.keys.add(row)
    revoked = await store.keys.revoke(row.key_id, 5_000)
    assert revoked == row._replace(revoked_at=5_000)
    assert await store.keys.revoke(row.key_id, 9_000) == revoked
    (found,) = await store.keys.credentials([row.hash])
    assert found.key.ends_at() == 5_000


async def test_revoking_what_is_no_key_tells_so(store: Store) -> None:
    assert await store.keys.revoke("k0", 1) is None


async def test_the_last_use_only_goes_forward(store: Store) -> None:
    used, unused = key(), key()
    await store.keys.add(used)
    await store.keys.add(unused)
    await store.keys.used({used.key_id: 7_000, "k0": 8_000})
    await store.keys.used({used.key_id: 6_000})
    moments = {row.key_id: row.last_used_at for row in await store.keys.all()}
    assert moments == {used.key_id: 7_000, unused.key_id: None}


async def test_a_session_stands_for_its_key_until_it_ends(store: Store) -> None:
    row = key("ops", "team-a.")
    await store.keys.add(row)
    await store.keys.begin_session(SessionRow("a" * 64, row.key_id, 1_000, 3_000))
    assert await store.keys.credentials(["a" * 64]) == [Credential("a" * 64, row, 3_000)]
    await store.keys.end_session("a" * 64)
    await store.keys.end_session("a" * 64)
    assert await store.keys.credentials(["a" * 64]) == []


async def test_sessions_end_with_their_key(store: Store) -> None:
    row, other = key(), key()
    for one, digest in ((row, "a" * 64), (other, "b" * 64)):
        await store.keys.add(one)
        await store.keys.begin_session(SessionRow(digest, one.key_id, 1_000, 9_000))
    await store.keys.revoke(row.key_id, 2_000)
    assert [one.hash for one in await store.keys.credentials(["a" * 64, "b" * 64])] == ["b" * 64]


async def test_sessions_that_have_ended_are_forgotten_with_the_next_sign_in(store: Store) -> None:
    row = key()
    await store.keys.add(row)
    await store.keys.begin_session(SessionRow("a" * 64, row.key_id, 1_000, 2_000))
    await store.keys.begin_session(SessionRow("b" * 64, row.key_id, 2_000, 4_000))
    assert [one.hash for one in await store.keys.credentials(["a" * 64, "b" * 64])] == ["b" * 64]


@pytest.mark.parametrize("name", ["", " ", "a ", "tab\tbed", "line\nbreak", "x" * 65, "\x00"])
def test_a_key_needs_a_name_that_can_be_read(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a key"):
        new_key(name, Scope.TRAINER, (), NOON)


@pytest.mark.parametrize("prefix", ["", "a/b", "a b", "ä", "%", "x" * 129])
def test_a_prefix_must_begin_a_run_id(prefix: str) -> None:
    with pytest.raises(ValueError, match="begins no run id"):
        new_key("ci", Scope.TRAINER, (prefix,), NOON)


def test_a_new_key_shows_itself_nowhere_but_where_it_is() -> None:
    made = new_key("ci", Scope.TRAINER, (), NOON)
    assert made.key.startswith("tamiyo_")
    assert len(made.key) == len("tamiyo_") + 43
    assert made.key not in repr(made)
    assert made.key not in str(made.row)
