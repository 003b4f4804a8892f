"""How a service comes by its first key."""

from __future__ import annotations

import shlex
from pathlib import Path

from sqlalchemy import URL, make_url

from tamiyo_service.store.database import shown


def first_key(database_url: str) -> str:
    """The command that makes a key where a service looks for keys, from any folder; without a password."""
    place = shlex.quote(shown(_from_anywhere(make_url(database_url))))
    return f"tamiyo keys create --name NAME --scope admin --database-url {place}"


def _from_anywhere(url: URL) -> URL:
    if url.get_backend_name() != "sqlite" or not url.database:
        return url
    return url.set(database=str(Path(url.database).absolute()))
