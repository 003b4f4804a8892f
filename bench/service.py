"""How fast the service decides durably, beside a bare FastAPI endpoint with the same models.

Server and load generator have a core each; all servers are up and measured in turn, several times over;
medians are reported and ratios taken within the run. SQLite writes with synchronous=FULL.

    python -m bench.service
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.memory import bytes_per_cached_run

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "results" / "service.json"
KINDS: Final = ("tamiyo", "fastapi", "starlette")
CONNECTIONS: Final = (1, 32)
ROUNDS: Final = 5
SECONDS: Final = 3.0
WARM_UP_SECONDS: Final = 1.0


def measure(rounds: int = ROUNDS, seconds: float = SECONDS) -> dict[str, Any]:
    """Medians of every server at every number of connections, their ratios, and what is stored."""
    server_core, load_core = _cores()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        database = Path(folder) / "bench.db"
        servers = {kind: running.enter_context(_server(kind, server_core, database)) for kind in KINDS}
        for kind in KINDS:
            _load(servers[kind], 32, WARM_UP_SECONDS, f"warm-{kind}", load_core)
        samples: dict[str, list[dict[str, float]]] = {}
        for number in range(rounds):
            for connections in CONNECTIONS:
                for kind in KINDS:
                    prefix = f"{kind}-{number}-{connections}"
                    result = _load(servers[kind], connections, seconds, prefix, load_core)
                    samples.setdefault(f"{kind}/{connections}", []).append(result)
        running.close()
        stored = _stored(database)
    medians = {name: _median(results) for name, results in samples.items()}
    figures = _ratios(medians) | stored | {"bytes_per_cached_run": bytes_per_cached_run()}
    return {"medians": medians, "figures": figures, "rounds": rounds, "seconds": seconds}


def _cores() -> tuple[int, int]:
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


class Server(NamedTuple):
    """A server that is up."""

    port: int
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """CPU time its process has used, all threads, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _server(kind: str, core: int, database: Path) -> Iterator[Server]:
    port = _free_port()
    arguments = [sys.executable, str(HERE / "servers.py"), kind, str(port), str(core)]
    process = subprocess.Popen([*arguments, "--database", str(database)])
    try:
        _await_listening(port, process)
        yield Server(port, process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            continue
    raise RuntimeError("a server did not start")


def _load(server: Server, connections: int, seconds: float, prefix: str, core: int) -> dict[str, float]:
    before = server.cpu_seconds()
    arguments = [str(server.port), str(connections), str(seconds), prefix, str(core)]
    command = [sys.executable, str(HERE / "load.py"), *arguments]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if result["errors"]:
        raise RuntimeError(f"{result['errors']} requests failed")
    return result | {"cpu_us": 1e6 * (server.cpu_seconds() - before) / result["requests"]}


def _median(results: list[dict[str, float]]) -> dict[str, float]:
    rates = [result["requests"] / result["seconds"] for result in results]
    return {
        "requests_per_second": statistics.median(rates),
        "p50_us": statistics.median(result["p50_us"] for result in results),
        "p99_us": statistics.median(result["p99_us"] for result in results),
        "cpu_us": statistics.median(result["cpu_us"] for result in results),
    }


def _ratios(medians: dict[str, dict[str, float]]) -> dict[str, float]:
    ratios = {}
    for connections in CONNECTIONS:
        ours = medians[f"tamiyo/{connections}"]
        for other in ("fastapi", "starlette"):
            theirs = medians[f"{other}/{connections}"]
            ratios[f"throughput_{connections}_vs_{other}"] = (
                ours["requests_per_second"] / theirs["requests_per_second"]
            )
            ratios[f"p99_{connections}_vs_{other}"] = ours["p99_us"] / theirs["p99_us"]
            ratios[f"cpu_{connections}_vs_{other}"] = ours["cpu_us"] / theirs["cpu_us"]
    extra = medians["tamiyo/1"]["p50_us"] - medians["fastapi/1"]["p50_us"]
    return ratios | {"p50_1_ms_above_fastapi": extra / 1000}


def _stored(database: Path) -> dict[str, float]:
    with sqlite3.connect(database) as connection:
        decisions = connection.execute("SELECT count(*) FROM journal").fetchone()[0]
    connection.close()
    return {"decisions": decisions, "bytes_per_decision": database.stat().st_size / decisions}


def main() -> None:
    """Measure, print the table, save the figures."""
    results = measure()
    for name, row in results["medians"].items():
        latencies = f"p50 {row['p50_us']:7.0f} µs  p99 {row['p99_us']:7.0f} µs  CPU {row['cpu_us']:5.0f} µs"
        print(f"{name:14} {row['requests_per_second']:8.0f}/s  {latencies}")
    for name, value in results["figures"].items():
        print(f"{name:28} {value:10.3f}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
