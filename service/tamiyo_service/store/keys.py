"""What a store keeps about who may call: API keys, of which only hashes are kept, and the page's sessions.

SHA-256 is right here, where it would be wrong for passwords: a key is 256 random bits, so nobody finds it by
trying, however quick the hash. A key is found by its hash, so that how long the search takes tells nothing of
it: who does not have the key cannot choose the hash.
"""
# ruff: noqa: D102 - the methods are described once, by KeyStore

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Row,
    Select,
    Table,
    Text,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from tamiyo_service.store.dialect import Database
from tamiyo_service.store.schema import NAME, metadata

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("key_id", NAME, primary_key=True),
    Column("name", NAME, nullable=False),
    Column("scope", Text, nullable=False),
    Column("prefixes", Text, nullable=False),
    Column("hash", NAME, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),
)
"""Every key there ever was."""

page_sessions: Final = Table(
    "page_sessions",
    metadata,
    Column("hash", NAME, primary_key=True),
    Column("key_id", NAME, ForeignKey("api_keys.key_id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
"""Sessions of browsers that signed in with a key."""


class KeyRow(NamedTuple):
    """An API key. Moments are microseconds since 1970, UTC."""

    key_id: str
    """Public: what it is called in lists and logs."""
    name: str
    scope: str
    prefixes: tuple[str, ...]
    """How the ids of its runs begin; empty: any run."""
    hash: str
    """SHA-256 of the key, in hexadecimal digits."""
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None

    def ends_at(self) -> int | None:
        """From when on it may not be used; None: it may be used for ever."""
        return min(
            (moment for moment in (self.expires_at, self.revoked_at) if moment is not None), default=None
        )


class SessionRow(NamedTuple):
    """A browser that signed in."""

    hash: str
    """SHA-256 of what its cookie holds, in hexadecimal digits."""
    key_id: str
    created_at: int
    expires_at: int


class Credential(NamedTuple):
    """What a hash stands for: a key, or a session of the page that was begun with it."""

    hash: str
    key: KeyRow
    expires_at: int | None
    """When the session ends; None: it is the key itself."""


class KeyStore(Protocol):
    """Keeps keys and sessions. Every method may raise `StoreUnavailableError`."""

    async def add(self, row: KeyRow) -> None:
        """Keep a new key."""

    async def all(self) -> list[KeyRow]:
        """All keys, the newest first."""

    async def revoke(self, key_id: str, at: int) -> KeyRow | None:
        """Let a key end at a moment, unless it was revoked before, and its sessions; None: no such key."""

    async def used(self, moments: Mapping[str, int]) -> None:
        """Remember when keys were last used, by their ids; moments before those kept change nothing."""

    async def credentials(self, hashes: Iterable[str]) -> list[Credential]:
        """What these hashes stand for, whether or not it has ended; those of nothing are left out."""

    async def begin_session(self, row: SessionRow) -> None:
        """Keep a new session, and forget those that have ended."""

    async def end_session(self, session_hash: str) -> None:
        """Forget a session."""


class SqlKeys:
    """See `KeyStore`.

    Args:
        read: asks a question of the database.
        do: carries a job out.
    """

    def __init__(
        self,
        read: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
        do: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
    ) -> None:
        self._read = read
        self._do = do

    async def add(self, row: KeyRow) -> None:
        await self._do(lambda connection: insert_key(connection, row))

    async def all(self) -> list[KeyRow]:
        found: list[KeyRow] = await self._read(list_keys)
        return found

    async def revoke(self, key_id: str, at: int) -> KeyRow | None:
        row: KeyRow | None = await self._do(lambda connection: revoke_key(connection, key_id, at))
        return row

    async def used(self, moments: Mapping[str, int]) -> None:
        statements = [_used(key_id, at) for key_id, at in moments.items()]
        await self._do(lambda connection: [connection.execute(statement) for statement in statements])

    async def credentials(self, hashes: Iterable[str]) -> list[Credential]:
        wanted = list(hashes)
        found: list[Credential] = await self._read(lambda connection: _credentials(connection, wanted))
        return found

    async def begin_session(self, row: SessionRow) -> None:
        def begin(connection: Connection) -> None:
            connection.execute(delete(page_sessions).where(page_sessions.c.expires_at <= row.created_at))
            connection.execute(insert(page_sessions).values(row._asdict()))

        await self._do(begin)

    async def end_session(self, session_hash: str) -> None:
        ended = delete(page_sessions).where(page_sessions.c.hash == session_hash)
        await self._do(lambda connection: connection.execute(ended))


class MemoryKeys:
    """See `KeyStore`."""

    def __init__(self) -> None:
        self._keys: dict[str, KeyRow] = {}
        self._sessions: dict[str, SessionRow] = {}

    async def add(self, row: KeyRow) -> None:
        self._keys[row.key_id] = row

    async def all(self) -> list[KeyRow]:
        return sorted(self._keys.values(), key=lambda row: (-row.created_at, row.key_id))

    async def revoke(self, key_id: str, at: int) -> KeyRow | None:
        row = self._keys.get(key_id)
        if row is None:
            return None
        if row.revoked_at is None or row.revoked_at > at:
            row = self._keys[key_id] = row._replace(revoked_at=at)
        self._sessions = {digest: one for digest, one in self._sessions.items() if one.key_id != key_id}
        return row

    async def used(self, moments: Mapping[str, int]) -> None:
        for key_id, at in moments.items():
            row = self._keys.get(key_id)
            if row is not None and (row.last_used_at is None or row.last_used_at < at):
                self._keys[key_id] = row._replace(last_used_at=at)

    async def credentials(self, hashes: Iterable[str]) -> list[Credential]:
        wanted = set(hashes)
        found = [Credential(row.hash, row, None) for row in self._keys.values() if row.hash in wanted]
        for digest in wanted & self._sessions.keys():
            session = self._sessions[digest]
            found.append(Credential(digest, self._keys[session.key_id], session.expires_at))
        return found

    async def begin_session(self, row: SessionRow) -> None:
        live = {digest: one for digest, one in self._sessions.items() if one.expires_at > row.created_at}
        self._sessions = live | {row.hash: row}

    async def end_session(self, session_hash: str) -> None:
        self._sessions.pop(session_hash, None)


def insert_key(connection: Connection, row: KeyRow) -> None:
    """Keep a new key."""
    connection.execute(insert(api_keys).values(row._asdict() | {"prefixes": json.dumps(row.prefixes)}))


def list_keys(connection: Connection) -> list[KeyRow]:
    """All keys, the newest first."""
    ordered = select(*api_keys.columns).order_by(api_keys.c.created_at.desc(), api_keys.c.key_id)
    return [_key(row) for row in connection.execute(ordered)]


def usable_keys(database: Database, at: int) -> int:
    """How many keys may be used at a moment, of a database whose schema is up to date.

    Raises:
        DatabaseUnusableError: if it cannot be read.
    """
    try:
        with database.writer.connect() as connection:
            keys = list_keys(connection)
    except (SQLAlchemyError, OSError) as error:
        raise database.unusable(error) from error
    return sum((ends := key.ends_at()) is None or ends > at for key in keys)


def revoke_key(connection: Connection, key_id: str, at: int) -> KeyRow | None:
    """See `KeyStore.revoke`."""
    earlier = or_(api_keys.c.revoked_at.is_(None), api_keys.c.revoked_at > at)
    connection.execute(update(api_keys).where(api_keys.c.key_id == key_id, earlier).values(revoked_at=at))
    connection.execute(delete(page_sessions).where(page_sessions.c.key_id == key_id))
    row = connection.execute(select(*api_keys.columns).where(api_keys.c.key_id == key_id)).first()
    return None if row is None else _key(row)


def _used(key_id: str, at: int) -> Any:
    earlier: ColumnElement[bool] = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < at)
    return update(api_keys).where(api_keys.c.key_id == key_id, earlier).values(last_used_at=at)


def _credentials(connection: Connection, hashes: list[str]) -> list[Credential]:
    keys = select(*api_keys.columns).where(api_keys.c.hash.in_(hashes))
    found = [Credential(row.hash, _key(row), None) for row in connection.execute(keys)]
    for row in connection.execute(_sessions(hashes)):
        *key, digest, expires_at = row
        found.append(Credential(digest, _key(key), expires_at))
    return found


def _sessions(hashes: list[str]) -> Select[Any]:
    both = api_keys.join(page_sessions, page_sessions.c.key_id == api_keys.c.key_id)
    wanted = select(*api_keys.columns, page_sessions.c.hash, page_sessions.c.expires_at).select_from(both)
    return wanted.where(page_sessions.c.hash.in_(hashes))


def _key(row: Row[Any] | list[Any]) -> KeyRow:
    key = KeyRow(*row)
    return key._replace(prefixes=tuple(json.loads(str(key.prefixes))))
