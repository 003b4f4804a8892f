"""Mutations that know JSON: a document stays one, with one part of it made strange."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any, Final

STRANGE: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 0.5, 1.0, -0.0, 2**53, -(2**63), 10**30, 10**400, 1e308, 5e-324,
    "", " ", "\0", "\x85", "\u2028", "\u202e", "\ud800", "𝕏", "é", "e\u0301", "NaN", "Infinity", "-Infinity",
    "=1+1", "<script>", "../..", "%2e%2e", "a" * 129, "a" * 2001, "a" * 9000, "2026-01-31T12:00:00Z",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z", "TRAINING", "GREEN",
    [], {}, [[]], [None], {"": None}, {"a": {"a": {"a": []}}}, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
"""Values that readers trip over."""
_RAW: Final = (b"\xff", b"\x00", b"\xef\xbb\xbf", b"NaN", b"1e999", b"\\ud800", b"//", b",", b"{", b"[", b'"')
"""Bytes that are put in anywhere."""


def mutated(document: Any, random: Random) -> bytes:
    """A document with a few parts changed, as bytes; now and then no longer JSON."""
    for _ in range(random.randint(1, 3)):
        document = _changed(document, random)
    data = json.dumps(document, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    return _broken(data, random) if random.random() < 0.2 else data


def _changed(document: Any, random: Random) -> Any:
    """A copy with one place changed: replaced, left out, doubled, or grown."""
    document = json.loads(json.dumps(document))
    places = list(_places(document))
    if not places:
        return random.choice(STRANGE)
    parent, key = random.choice(places)
    what = random.randrange(5)
    if what == 0:
        del parent[key]
    elif what == 1 and isinstance(parent, list):
        parent.extend([parent[key]] * random.choice((1, 64, 300)))
    elif what == 2 and isinstance(parent, dict):
        parent[str(random.choice(STRANGE))] = parent[key]
    elif what == 3 and isinstance(parent[key], int | float | str):
        parent[key] = _near(parent[key], random)
    else:
        parent[key] = random.choice(STRANGE)
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _near(value: int | float | str, random: Random) -> Any:
    if isinstance(value, str):
        at = random.randint(0, len(value))
        return value[:at] + random.choice(("", "x", "\0", "é", value)) + value[at:]
    if value != value or value in (float("inf"), float("-inf")):
        return 0
    return random.choice((value + 1, value - 1, -value, float(value) if abs(value) < 1e300 else 0, value * 2))


def _broken(data: bytes, random: Random) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.choice(_RAW) + data[at + random.randint(0, 3) :]
