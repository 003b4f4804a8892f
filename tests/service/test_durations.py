"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError
from tamiyo_service import Settings
from tamiyo_service.retention.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90d", timedelta(days=90)),
        ("12h", timedelta(hours=12)),
        ("30m", timedelta(minutes=30)),
        ("45s", timedelta(seconds=45)),
        ("2w", timedelta(weeks=2)),
        ("1d12h", timedelta(days=1.5)),
        (" 90D ", timedelta(days=90)),
        ("P90D", timedelta(days=90)),
        ("PT12H", timedelta(hours=12)),
        ("p1dt30m", timedelta(days=1, minutes=30)),
        ("36500d", timedelta(days=36_500)),
    ],
)
def test_a_duration_is_read(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "90", "d", "90 days", "-90d", "1.5d", "P", "P90", "-P90D", "d90", "90d!"]
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"write .*90d"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0d", "PT0S", "36501d", "999999999w"])
def test_what_is_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"above zero and at most a hundred years|no duration"):
        parse_duration(text)


def test_settings_take_durations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIYO_RETENTION", "90d")
    monkeypatch.setenv("TAMIYO_RETENTION_SILENT", "P30D")
    settings = Settings()
    assert settings.retention == timedelta(days=90)
    assert settings.retention_silent == timedelta(days=30)


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("retention", "90", "write 90d"),
        ("retention_silent", "soon", "write 90d"),
        ("archive", "", "name a file or folder"),
        ("sweep_seconds", "0", "greater than 0"),
    ],
)
def test_bad_settings_are_refused_by_name_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(f"TAMIYO_{variable.upper()}", value)
    with pytest.raises(ValidationError, match=f"(?s){variable}.*{remedy}"):
        Settings()
