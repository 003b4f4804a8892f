"""How fast the service decides durably, beside other servers that take the same report.

Server and load generator have a core each, PostgreSQL the load generator's; all servers are up and measured
in turn, several times over; medians are reported and ratios taken within the run. SQLite writes with
synchronous=FULL, PostgreSQL with fsync and synchronous_commit on. What is not installed is left out and
named.

    python -m bench.service --rounds 1 --seconds 1
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.figures import medians_of, ratios_of
from bench.load import KEY
from bench.memory import bytes_per_cached_run
from bench.plots import plot_service
from bench.postgres import postgresql
from bench.processes import HERE, Server, UnavailableError, cores, our_server, peer_server, running

RESULTS: Final = HERE / "results"
ROUNDS: Final = 5
SECONDS: Final = 3.0
WARM_UP_SECONDS: Final = 1.0


class Series(NamedTuple):
    """One kind of measurement.

    Attributes:
        name: as it appears in the results.
        servers: names of those that share the load.
        load: kind of load.
        connections: in all.
    """

    name: str
    servers: tuple[str, ...]
    load: str
    connections: int


def all_series() -> list[Series]:
    """Everything that is measured, in turn."""
    found = [
        Series(f"{kind}/{connections}", (kind,), "single", connections)
        for connections in (1, 32)
        for kind in ("tamiyo", "tamiyo_keyed", "fastapi", "starlette", "tamiyo_postgresql")
    ]
    found += [
        Series(f"{kind}/{connections}", (kind,), "predict", connections)
        for connections in (1, 32)
        for kind in ("litserve", "ray")
    ]
    return [
        *found,
        *(
            Series(f"{name}/{number}", (server,), "short", number)
            for number in (1, 32)
            for name, server in (("tamiyo_short", "tamiyo"), ("tamiyo_learned", "tamiyo_learned"))
        ),
        Series("tamiyo_2_replicas/32", ("tamiyo_postgresql", "tamiyo_replica"), "single", 32),
        Series("tamiyo_batch/2", ("tamiyo",), "batch", 2),
    ]


def measure(rounds: int = ROUNDS, seconds: float = SECONDS) -> dict[str, Any]:
    """Medians of every series, their ratios, what is stored, and what could not be measured."""
    _, load_core = cores()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running_servers:
        database = Path(folder) / "bench.db"
        servers, missing = _start_all(running_servers, database)
        series = [each for each in all_series() if all(name in servers for name in each.servers)]
        for each in series:
            _measured(each, servers, WARM_UP_SECONDS, "warm", load_core)
        samples: dict[str, list[dict[str, float]]] = {each.name: [] for each in series}
        for number in range(rounds):
            for each in series:
                samples[each.name].append(_measured(each, servers, seconds, str(number), load_core))
        running_servers.close()
        stored = _stored(database)
    medians = medians_of(samples)
    figures = ratios_of(medians) | stored | {"bytes_per_cached_run": bytes_per_cached_run()}
    results = {
        "medians": medians,
        "figures": figures,
        "not_measured": missing,
        "versions": _versions(),
        "rounds": rounds,
        "seconds": seconds,
    }
    plot_service(results, RESULTS)
    return results


def _start_all(running_servers: ExitStack, database: Path) -> tuple[dict[str, Server], dict[str, str]]:
    """Every server that can be started, and why the others cannot."""
    core, load_core = cores()
    url, learned_url = f"sqlite:///{database}", f"sqlite:///{database}.learned"
    starts: dict[str, Callable[[], AbstractContextManager[dict[str, Server]]]] = {
        "tamiyo": lambda: _one("tamiyo", our_server("tamiyo", core, url)),
        "tamiyo_learned": lambda: _one("tamiyo_learned", our_server("tamiyo_learned", core, learned_url)),
        "tamiyo_keyed": lambda: _keyed(core, f"{url}.keyed"),
        "fastapi": lambda: _one("fastapi", our_server("fastapi", core)),
        "starlette": lambda: _one("starlette", our_server("starlette", core)),
        "tamiyo_postgresql": lambda: _on_postgresql(core, load_core),
        "litserve": lambda: _peer("litserve", "/health", core, database.parent),
        "ray": lambda: _peer("ray", "/-/healthz", core, database.parent),
    }
    servers: dict[str, Server] = {}
    missing: dict[str, str] = {}
    for name, start in starts.items():
        try:
            servers |= running_servers.enter_context(start())
        except UnavailableError as error:
            missing[name] = str(error)
            print(f"{name}: not measured: {error}", file=sys.stderr)
    return servers, missing


@contextmanager
def _one(name: str, command: list[str]) -> Iterator[dict[str, Server]]:
    with running(command) as server:
        yield {name: server}


@contextmanager
def _keyed(core: int, url: str) -> Iterator[dict[str, Server]]:
    """The service with authentication, and a key for it."""
    made = [sys.executable, "-m", "tamiyo_cli", "keys", "create", "--name", "bench", "--scope", "trainer"]
    done = subprocess.run([*made, "--database-url", url, "--json"], check=True, capture_output=True)
    with running(our_server("tamiyo_keyed", core, url)) as server:
        yield {"tamiyo_keyed": server._replace(key=json.loads(done.stdout)["key"])}


@contextmanager
def _peer(name: str, ready: str, core: int, folder: Path) -> Iterator[dict[str, Server]]:
    """A server of others: where it does not start, that is its result."""
    log = folder / f"{name}.log"
    with ExitStack() as started:
        try:
            server = started.enter_context(running(peer_server(name, core), ready, log))
        except RuntimeError as error:
            raise UnavailableError(f"{error}: {log.read_text(errors='replace').strip()[-300:]}") from error
        yield {name: server}


@contextmanager
def _on_postgresql(core: int, database_core: int) -> Iterator[dict[str, Server]]:
    """Two replicas on one PostgreSQL; alone the first is the single service."""
    with postgresql(database_core) as url:
        command = our_server("tamiyo", core, url)
        with running(command) as first, running(command) as second:
            yield {"tamiyo_postgresql": first, "tamiyo_replica": second}


def _measured(
    series: Series, servers: dict[str, Server], seconds: float, prefix: str, core: int
) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.load", series.load, "--connections", str(series.connections)]
    for name in series.servers:
        command += ["--port", str(servers[name].port), "--pid", str(servers[name].process.pid)]
    run_ids = f"{prefix}-{series.name.replace('/', '-')}"
    command += ["--seconds", str(seconds), "--prefix", run_ids, "--core", str(core)]
    key = servers[series.servers[0]].key
    environment = os.environ | ({KEY: key} if key else {})
    done = subprocess.run(command, check=True, capture_output=True, cwd=HERE.parent, env=environment)
    result: dict[str, float] = json.loads(done.stdout)
    if result["errors"]:
        raise RuntimeError(f"{series.name}: {result['errors']:.0f} requests failed")
    return result


def _stored(database: Path) -> dict[str, float]:
    with sqlite3.connect(database) as connection:
        decisions = connection.execute("SELECT count(*) FROM journal").fetchone()[0]
    connection.close()
    return {"decisions": decisions, "bytes_per_decision": database.stat().st_size / decisions}


def _versions() -> dict[str, str]:
    """What of others was measured, as pinned for the peers."""
    pins = (HERE / "peers" / "requirements.txt").read_text(encoding="utf-8").split()
    return dict(pin.split("==") for pin in pins if "==" in pin)


def main() -> None:
    """Measure, print the table, save the figures."""
    parser = argparse.ArgumentParser(description="Durable decisions beside other servers.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    results = measure(options.rounds, options.seconds)
    for name, row in results["medians"].items():
        latencies = f"p50 {row['p50_us']:8.0f} µs  p99 {row['p99_us']:8.0f} µs  CPU {row['cpu_us']:6.0f} µs"
        print(f"{name:22} {row['decisions_per_second']:8.0f}/s  {latencies}")
    for name, value in results["figures"].items():
        print(f"{name:36} {value:10.3f}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "service.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
