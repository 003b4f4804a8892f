"""Keys and tokens: random, and kept only as hashes.

::

    tamiyo_mG3x…43 characters of base64url…   an API key: 256 random bits
    k5f0c2ab91d3e                             its public id, for lists, logs and `tamiyo keys revoke`

A key is stored as its SHA-256. That is right for 256 random bits, which nobody finds by trying, and would be
wrong for passwords. It is looked up by that hash: how long the search takes tells nothing of the key, because
who does not have it cannot choose what is compared.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from tamiyo_service.auth.caller import Scope
from tamiyo_service.clock import to_micros
from tamiyo_service.store.keys import KeyRow

_BYTES: Final = 32
_MARK: Final = "tamiyo_"
"""Begins every key: whoever finds one, people or scanners of repositories, knows what it opens."""
_PREFIX: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_NAME: Final = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,62}[^\s\x00-\x1f\x7f])?")


class NewKey(NamedTuple):
    """A key just made, the only time it is there."""

    key: str
    row: KeyRow

    def __repr__(self) -> str:
        return f"NewKey({self.row.key_id})"


def new_token() -> str:
    """What nobody can guess: 256 random bits in base64url."""
    return secrets.token_urlsafe(_BYTES)


def digest_of(token: bytes) -> str:
    """SHA-256 of a key or token, in hexadecimal digits."""
    return hashlib.sha256(token).hexdigest()


def new_key(
    name: str, scope: Scope, prefixes: Sequence[str], created: datetime, expires: datetime | None = None
) -> NewKey:
    """A new key.

    Args:
        name: whose it is: of a person, a team or a program; 1 to 64 characters.
        scope: what it is for.
        prefixes: how the ids of its runs begin; none: any run.
        created: the present moment.
        expires: when it ends; None: when it is revoked.

    Raises:
        ValueError: if the name or a prefix cannot be used.
    """
    if not name.isprintable() or _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!a} is no name of a key: 1 to 64 printable characters, no space at its ends")
    for prefix in prefixes:
        if _PREFIX.fullmatch(prefix) is None:
            raise ValueError(
                f"{prefix!a} begins no run id: 1 to 128 letters, digits, dots, underscores, colons, hyphens"
            )
    key = _MARK + new_token()
    row = KeyRow(
        key_id="k" + secrets.token_hex(6),
        name=name,
        scope=scope.value,
        prefixes=tuple(dict.fromkeys(prefixes)),
        hash=digest_of(key.encode()),
        created_at=to_micros(created),
        expires_at=None if expires is None else to_micros(expires),
        revoked_at=None,
        last_used_at=None,
    )
    return NewKey(key, row)
