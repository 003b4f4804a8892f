"""The soak tells memory that grows from memory that does not."""

from __future__ import annotations

import os
from random import Random

import pytest

from bench.soak import Reading, is_flat, read_memory, slope_of

HELD = 100e6


def readings(growth_per_hour: float, noise: float) -> list[Reading]:
    """Ten minutes of readings, one a second, of a process that holds about `HELD` bytes."""
    random = Random(1)
    held = (HELD + growth_per_hour * second / 3600 + random.gauss(0, noise) for second in range(600))
    return [Reading(second, int(bytes_), 0) for second, bytes_ in enumerate(held)]


@pytest.mark.parametrize("noise", [0.0, 1e6])
def test_growth_is_found_and_estimated(noise: float) -> None:
    slope = slope_of(readings(50e6, noise))
    assert slope.low <= 50e6 * 1.0001
    assert slope.high >= 50e6 * 0.9999
    assert not is_flat(slope, HELD)


@pytest.mark.parametrize("noise", [0.0, 1e6])
def test_what_does_not_grow_is_flat(noise: float) -> None:
    assert is_flat(slope_of(readings(0.0, noise)), HELD)


def test_growth_that_nobody_would_notice_is_flat() -> None:
    assert is_flat(slope_of(readings(0.5e6, 0.0)), HELD)


def test_too_short_a_soak_says_so() -> None:
    with pytest.raises(ValueError, match="soak for longer"):
        slope_of(readings(0.0, 0.0)[:30])


def test_the_memory_of_a_process_is_read() -> None:
    reading = read_memory(os.getpid(), 1.0)
    assert 0 < reading.anonymous <= reading.resident
