"""Services that ask for keys, and those who have some."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
from tamiyo_service.auth.caller import Scope
from tamiyo_service.auth.tokens import NewKey, new_key
from tamiyo_service.store import Store

from tests.service.conftest import Service, serving


async def given_key(
    store: Store,
    scope: Scope,
    *prefixes: str,
    name: str = "somebody",
    created: datetime,
    expires: datetime | None = None,
) -> NewKey:
    """A key that the store knows."""
    made = new_key(name, scope, prefixes, created, expires)
    await store.keys.add(made.row)
    return made


class Holders:
    """A service that asks for keys, and clients that have them."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.store = service.store
        self._clients: list[httpx.AsyncClient] = []

    def client(self, key: str | None = None, **headers: str) -> httpx.AsyncClient:
        """A client, with a key or without."""
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        transport = httpx.ASGITransport(self.service.app)
        opened = httpx.AsyncClient(transport=transport, base_url="http://tamiyo", headers=headers)
        self._clients.append(opened)
        return opened

    async def holder(self, scope: Scope, *prefixes: str, **options: Any) -> httpx.AsyncClient:
        """A client with a new key."""
        made = await given_key(self.store, scope, *prefixes, created=self.service.clock(), **options)
        return self.client(made.key)

    async def close(self) -> None:
        """Close every client."""
        for client in self._clients:
            await client.aclose()


@asynccontextmanager
async def asking_for_keys(store: Store, **settings: Any) -> AsyncIterator[Holders]:
    """A service over this store that asks for keys."""
    async with serving(store, auth="required", **settings) as service:
        holders = Holders(service)
        yield holders
        await holders.close()
