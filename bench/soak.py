"""Whether the service's memory stays flat under full load, for as long as one wants to wait.

A real service on SQLite, one process, answers trainings that begin, report 60 epochs and are followed by the
next, as fast as it can. It may keep `CACHED_RUNS` of them in memory, reached long before the part that counts
begins. Its anonymous memory is read every second; the means of `BLOCKS` equal parts are taken for one
measurement each, because neighbouring readings depend on each other, and a straight line is laid through them
(least squares; the slope's 95 % interval by Student's t). Memory is flat if that interval reaches down to no
growth, or growth stays below `NOISE` of the memory in an hour.

Run ``python -m bench.soak``; ten minutes, some of them for warming up; the figures go to
``bench/results/soak.json``. Not among the benches of ``make bench``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.processes import HERE, cores, cpu_seconds
from tests.service.processes import ServiceProcess, service_process

CACHED_RUNS: Final = 100
CONNECTIONS: Final = 64
BLOCKS: Final = 20
STUDENT: Final = 2.101
"""97.5 % quantile of Student's t with `BLOCKS` - 2 degrees of freedom."""
WARM_UP: Final = 0.25
"""Share of the time that does not count."""
NOISE: Final = 0.01
_RESULTS: Final = HERE / "results" / "soak.json"


class Reading(NamedTuple):
    """Memory at a moment."""

    seconds: float
    anonymous: int
    resident: int


class Slope(NamedTuple):
    """Growth in bytes an hour, with the 95 % interval."""

    estimate: float
    low: float
    high: float


def read_memory(pid: int, seconds: float) -> Reading:
    """What a process holds now, bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    told = dict(line.split(":", 1) for line in status.splitlines())
    anonymous, resident = (int(told[name].split()[0]) * 1024 for name in ("RssAnon", "VmRSS"))
    return Reading(seconds, anonymous, resident)


def slope_of(readings: Sequence[Reading]) -> Slope:
    """The line through the means of equal parts.

    Raises:
        ValueError: if there are fewer than two readings a part.
    """
    size = len(readings) // BLOCKS
    if size < 2:
        raise ValueError(f"{len(readings)} readings are too few for {BLOCKS} parts; soak for longer")
    parts = [readings[index * size : (index + 1) * size] for index in range(BLOCKS)]
    hours = [statistics.fmean(reading.seconds for reading in part) / 3600 for part in parts]
    held = [statistics.fmean(reading.anonymous for reading in part) for part in parts]
    line = statistics.linear_regression(hours, held)
    left = sum((y - line.intercept - line.slope * x) ** 2 for x, y in zip(hours, held, strict=True))
    spread = sum((x - statistics.fmean(hours)) ** 2 for x in hours)
    margin = STUDENT * math.sqrt(left / (BLOCKS - 2) / spread)
    return Slope(line.slope, line.slope - margin, line.slope + margin)


def is_flat(slope: Slope, held: float) -> bool:
    """Whether memory does not grow, or by less in an hour than anybody would notice."""
    return slope.low <= 0 or slope.high < NOISE * held


def soak(seconds: float) -> dict[str, Any]:
    """Load a service for that long; what its memory did."""
    with (
        tempfile.TemporaryDirectory() as folder,
        service_process(Path(folder), cached_runs=str(CACHED_RUNS)) as service,
    ):
        core, other = cores()
        os.sched_setaffinity(service.process.pid, {core})
        before = cpu_seconds(service.process.pid)
        with load(service, seconds, other) as generator:
            readings = watch(service.process.pid, generator)
            told = json.loads(generator.communicate()[0])
        used = cpu_seconds(service.process.pid) - before
    counted = [reading for reading in readings if reading.seconds >= WARM_UP * seconds]
    slope = slope_of(counted)
    held = statistics.fmean(reading.anonymous for reading in counted)
    return {
        "seconds": told["seconds"],
        "decisions": told["decisions"],
        "errors": told["errors"],
        "cpu_share": used / told["seconds"],
        "held_mb": held / 1e6,
        "resident_mb_at_end": counted[-1].resident / 1e6,
        "slope_mb_per_hour": slope.estimate / 1e6,
        "slope_low_mb_per_hour": slope.low / 1e6,
        "slope_high_mb_per_hour": slope.high / 1e6,
        "flat": is_flat(slope, held) and told["errors"] == 0,
        "readings_mb": [[round(r.seconds, 1), round(r.anonymous / 1e6, 3)] for r in readings],
    }


def load(service: ServiceProcess, seconds: float, core: int) -> subprocess.Popen[bytes]:
    """Trainers in a process of their own."""
    command = [sys.executable, "-m", "bench.load", "short", "--port", service.url.rpartition(":")[2]]
    command += ["--connections", str(CONNECTIONS), "--seconds", str(seconds), "--prefix", "soak"]
    return subprocess.Popen([*command, "--core", str(core)], cwd=HERE.parent, stdout=subprocess.PIPE)


def watch(pid: int, generator: subprocess.Popen[bytes]) -> list[Reading]:
    """The memory of a process, every second until the load is over."""
    began = time.monotonic()
    readings: list[Reading] = []
    while generator.poll() is None:
        readings.append(read_memory(pid, time.monotonic() - began))
        time.sleep(1.0)
    return readings


def main() -> int:
    """Soak, tell, keep the figures; 1 if memory grew."""
    options = argparse.ArgumentParser(prog="python -m bench.soak")
    options.add_argument("--seconds", type=float, default=600.0)
    figures = soak(options.parse_args().seconds)
    _RESULTS.write_text(json.dumps(figures, indent=None) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in figures.items() if name != "readings_mb"}, indent=1))
    return 0 if figures["flat"] else 1


if __name__ == "__main__":
    sys.exit(main())
