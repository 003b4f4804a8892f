"""What a check of `tamiyo doctor` has found."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """What a check has found.

    Attributes:
        check: its name.
        verdict: how bad it is.
        detail: what is so.
        remedy: what to do; empty: nothing.
    """

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, detail)


def warning(check: str, detail: str, remedy: str) -> Finding:
    """It works, and should be looked at."""
    return Finding(check, Verdict.WARNING, detail, remedy)


def failed(check: str, detail: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, Verdict.FAILED, detail, remedy)


def skipped(check: str, detail: str) -> Finding:
    """It could not be looked at, and need not be."""
    return Finding(check, Verdict.SKIPPED, detail)
