"""Ten million stored decisions: how long the first page of every history query takes, and a restart.

Every question goes over HTTP to a real service process. The archive is built once (about 22 GB, some ten
minutes) and kept in ``bench/.cache``; a smaller one is made with ``--decisions``. Every question is asked
once before it is timed: what comes from the disk is the disk's figure. That is told apart, as the first page
of runs that nobody has asked about.

    python -m bench.history --decisions 1000000
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from bench.archive import RARE_LABEL, RARE_POLICY, Plan, archive
from bench.load import report_of
from bench.plots import plot_history
from bench.processes import (
    HERE,
    Server,
    await_answer,
    cores,
    family_cpu_seconds,
    free_port,
    our_server,
    running,
)
from bench.templates import LONG_ID

RESULTS: Final = Path(__file__).parent / "results" / "history.json"
DECISIONS: Final = 10_000_000
REQUESTS: Final = 200
RESTARTS: Final = 5
BOUND_MS: Final = 20.0
Query = dict[str, str | list[str]]


def decision_queries(middle: str, late: str) -> list[Query]:
    """Questions about decisions, alone and in telling combinations; each is asked in both orders.

    Args:
        middle: a moment in the middle of the archive, ISO 8601.
        late: one near its end.
    """
    return [
        {},
        {"action": "WAIT"},
        {"action": "GERMINATE"},
        {"action": "CULL"},
        {"action": "GERMINATE_LORA"},
        {"action": ["CULL", "FOSSILIZE"]},
        {"action": ["GERMINATE_LORA", "GERMINATE_MLP"]},
        {"action": ["WAIT", "CULL"]},
        {"risk": "GREEN"},
        {"risk": "YELLOW"},
        {"risk": "RED"},
        {"risk": "CRITICAL"},
        {"policy": "heuristic"},
        {"policy": RARE_POLICY},
        {"policy": "learned", "until": "2020-01-01T00:00:00Z"},
        {"since_epoch": "3"},
        {"since_epoch": "15000"},
        {"since_epoch": "9000000"},
        {"until_epoch": "0"},
        {"since_epoch": "50", "until_epoch": "50"},
        {"since": middle},
        {"until": middle},
        {"since": late},
        {"since": "2030-01-01T00:00:00Z"},
        {"until": "2020-01-01T00:00:00Z"},
        {"since": middle, "until": late},
        {"action": "CULL", "until": middle},
        {"action": "CULL", "policy": RARE_POLICY},
        {"action": "GERMINATE", "since": middle, "until": late},
        {"action": "GERMINATE", "since_epoch": "15000"},
        {"risk": "RED", "policy": RARE_POLICY},
        {"risk": "RED", "action": "GERMINATE"},
        {"risk": "GREEN", "policy": RARE_POLICY},
        {"risk": "GREEN", "action": "CULL"},
        {"risk": "ORANGE", "since": middle},
        {"policy": RARE_POLICY, "since": late},
        {"policy": "heuristic", "until": middle},
        {"policy": RARE_POLICY, "since_epoch": "1000"},
        {"policy": "heuristic", "since_epoch": "15000", "until": middle},
    ]


def within_run(middle: str) -> list[Query]:
    """Questions about the decisions of one run; each is asked in both orders."""
    return [
        {},
        {"action": "WAIT"},
        {"action": "GERMINATE"},
        {"action": "CULL"},
        {"action": ["CULL", "FOSSILIZE"]},
        {"risk": "GREEN"},
        {"risk": "RED"},
        {"risk": "CRITICAL"},
        {"policy": "heuristic"},
        {"policy": "learned", "until": "2020-01-01T00:00:00Z"},
        {"since_epoch": "90"},
        {"until_epoch": "5"},
        {"since_epoch": "9000000"},
        {"since": middle},
        {"until": "2020-01-01T00:00:00Z"},
        {"risk": "YELLOW", "since_epoch": "50", "policy": "heuristic"},
    ]


def run_queries(silent_half: str) -> list[Query]:
    """Questions about runs.

    Args:
        silent_half: seconds since the middle of the archive.
    """
    return [
        {},
        {"label": "team:vision"},
        {"label": RARE_LABEL},
        {"label": "team:nobody"},
        {"label": ["team:vision", RARE_LABEL]},
        {"label": ["team:vision", "team:speech"]},
        {"policy": "heuristic"},
        {"policy": RARE_POLICY},
        {"status": "ACTIVE"},
        {"status": "COMPLETED"},
        {"status": "HELD"},
        {"silent_for": "1"},
        {"silent_for": silent_half},
        {"silent_for": "999999999"},
        {"status": "HELD", "policy": RARE_POLICY, "label": RARE_LABEL},
        {"status": "COMPLETED", "policy": RARE_POLICY},
        {"status": "ACTIVE", "silent_for": silent_half},
        {"label": "team:robots", "silent_for": silent_half},
    ]


class Questions:
    """Asks a service and keeps the times.

    Args:
        server: the service.
        requests: how often each question is asked.
    """

    def __init__(self, server: Server, requests: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self._pid = server.process.pid
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
        self._requests = requests

    def ask(self, path: str, query: Query) -> None:
        """Ask a question once for the disk's sake, and then as often as wanted."""
        asked = f"{path}?{urlencode(query, doseq=True)}" if query else path
        page, first = self.get(asked)
        before = family_cpu_seconds(self._pid)
        taken: list[float] = []
        # A question that takes seconds has soon told enough.
        while len(taken) < self._requests and sum(taken) < 20_000:
            taken.append(1000 * self.get(asked)[1])
        row = {
            "query": asked,
            **spread(taken),
            "cpu_ms": 1000 * (family_cpu_seconds(self._pid) - before) / len(taken),
            "first_ms": 1000 * first,
            "items": len(page["items"]),
            "more": page["next_cursor"] is not None,
        }
        self.rows.append(row)
        times = f"{row['p50_ms']:9.2f} {row['p99_ms']:9.2f} {row['cpu_ms']:9.2f}"
        print(f"{times} {row['items']:5} {'+' if row['more'] else ' '} {asked}", flush=True)

    def get(self, path: str, body: str | None = None) -> tuple[Any, float]:
        """What a path answers, and the seconds that took.

        Raises:
            RuntimeError: if it is not 200.
        """
        began = time.perf_counter()
        headers = {} if body is None else {"content-type": "application/json"}
        self._connection.request("GET" if body is None else "POST", path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        seconds = time.perf_counter() - began
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {content[:300]!r}")
        return json.loads(content), seconds


def spread(taken_ms: list[float]) -> dict[str, float]:
    """Median and 99th percentile of times."""
    ordered = sorted(taken_ms)
    return {"p50_ms": statistics.median(ordered), "p99_ms": ordered[int(0.99 * len(ordered))]}


def measure(decisions: int = DECISIONS, requests: int = REQUESTS) -> dict[str, Any]:
    """Times of every question, of a restart, and of the first touch of runs that are not in memory."""
    file = archive(decisions)
    url = f"sqlite:///{file}"
    stored = _contents(file)
    core, _ = cores()
    # The first start may migrate the archive.
    with running(our_server("tamiyo", core, url)):
        pass
    ready = [_seconds_to_ready(url, core) for _ in range(RESTARTS)]
    with running(our_server("tamiyo", core, url)) as server:
        questions = Questions(server, requests)
        touched = _touch(questions, Plan(decisions), requests)
        _ask_all(questions, Plan(decisions), stored)
    worst = max(questions.rows, key=lambda row: row["p99_ms"])
    figures = {
        "worst_p99_ms": worst["p99_ms"],
        "worst_query": worst["query"],
        "worst_cpu_ms": max(row["cpu_ms"] for row in questions.rows),
        "within_bound": sum(row["p99_ms"] <= BOUND_MS for row in questions.rows),
        "queries": len(questions.rows),
        "ready_s": statistics.median(ready),
        **touched,
        **stored["sizes"],
    }
    plot_history(questions.rows, BOUND_MS, stored["sizes"]["entries"], RESULTS.with_suffix(".svg"))
    return {"figures": figures, "queries": questions.rows}


def _ask_all(questions: Questions, plan: Plan, stored: dict[str, Any]) -> None:
    middle, late = stored["middle"], stored["late"]
    usual = f"usual-{plan.usual_runs // 2:010d}"
    print(f"{'p50 ms':>9} {'p99 ms':>9} {'CPU ms':>9} items")
    asked = [("/decisions", query) for query in decision_queries(middle, late)]
    asked += [(f"/runs/{run}/decisions", query) for run in (usual, LONG_ID) for query in within_run(middle)]
    for path, query in asked:
        for order in ("desc", "asc"):
            questions.ask(path, {**query, "order": order})
    for query in run_queries(stored["silent_half"]):
        questions.ask("/runs", query)


def _touch(questions: Questions, plan: Plan, requests: int) -> dict[str, float]:
    """First reports to, first looks at, and first pages of runs that the service has not in memory."""
    draw = random.Random(time.time_ns())
    reported, looked = [], []
    for number in draw.sample(range(plan.short_runs), min(requests, plan.short_runs)):
        # Epochs rise from bench to bench: an archive is used many times.
        report = report_of(5).replace('"epoch":5', f'"epoch":{int(time.time())}')
        _, seconds = questions.get(f"/runs/short-{number:010d}/epoch", report)
        reported.append(1000 * seconds)
    for number in draw.sample(range(plan.usual_runs), min(requests, plan.usual_runs)):
        _, seconds = questions.get(f"/runs/usual-{number:010d}")
        looked.append(1000 * seconds)
    pages = []
    for number in draw.sample(range(plan.usual_runs), min(requests, plan.usual_runs)):
        _, seconds = questions.get(f"/runs/usual-{number:010d}/decisions")
        pages.append(1000 * seconds)
    named = {
        "first_report": spread(reported),
        "first_look": spread(looked),
        "first_page_from_disk": spread(pages),
    }
    return {f"{what}_{name}": value for what, times in named.items() for name, value in times.items()}


def _seconds_to_ready(url: str, core: int) -> float:
    """From the start of the process to the first 200 of /readyz."""
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen([*our_server("tamiyo", core, url), str(port)], cwd=HERE.parent)
    try:
        if await_answer(port, "/readyz", process) != 200:
            raise RuntimeError("the service is not ready")
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def _contents(file: Path) -> dict[str, Any]:
    """How much an archive holds, and moments within it."""
    with _opened(file) as connection:
        (last,) = connection.execute("SELECT max(id) FROM journal").fetchone()
        (runs,) = connection.execute("SELECT max(run_pk) FROM runs").fetchone()
        middle, late = (_moment(connection, int(last * share)) for share in (0.5, 0.99))
    sizes = {"entries": last, "runs": runs, "bytes_per_entry": file.stat().st_size / last}
    silent_half = str(int(time.time() - middle.timestamp()))
    return {"middle": _iso(middle), "late": _iso(late), "silent_half": silent_half, "sizes": sizes}


def _moment(connection: sqlite3.Connection, entry: int) -> datetime:
    (at,) = connection.execute("SELECT at FROM journal WHERE id = ?", (entry,)).fetchone()
    return datetime.fromtimestamp(at / 1e6, UTC)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(file)
    try:
        yield connection
    finally:
        connection.close()


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description="How quickly a large history answers.")
    parser.add_argument("--decisions", type=int, default=DECISIONS)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    options = parser.parse_args()
    results = measure(options.decisions, options.requests)
    for name, value in results["figures"].items():
        print(f"{name:24} {value}")
    if options.decisions == DECISIONS:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
