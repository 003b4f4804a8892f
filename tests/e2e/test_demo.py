"""The main job, as a user starts it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
from tamiyo_cli.local_service import local_service


def test_demo_grows_a_network_and_leaves_its_history(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "tamiyo_cli", "demo", "--dataset", "digits", "--json", "result.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    (result,) = json.loads((tmp_path / "result.json").read_text())
    assert result["dataset"] == "digits"
    assert result["decisions"] == result["epochs"] == sum(result["actions"].values())
    assert result["grown_accuracy"] > result["static_accuracy"]
    assert result["added_parameters"] > 0
    assert result["actions"].get("FOSSILIZE", 0) > 0
    with sqlite3.connect(tmp_path / result["database"]) as database:
        (reports,) = database.execute("SELECT count(*) FROM journal WHERE kind = 'report'").fetchone()
    database.close()
    assert reports == result["epochs"]
    assert "germinate" in finished.stdout
    assert "tamiyo decisions" in finished.stdout
    addresses = [line for line in finished.stdout.splitlines() if "http://127.0.0.1:8000/" in line]
    assert addresses[0].split() == ["http://127.0.0.1:8000/", "(the", "page)"]


def test_demo_lets_the_shipped_network_decide(tmp_path: Path) -> None:
    command = ["demo", "--policy", "learned", "--dataset", "digits", "--json", "result.json"]
    finished = subprocess.run(
        [sys.executable, "-m", "tamiyo_cli", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    (result,) = json.loads((tmp_path / "result.json").read_text())
    assert result["policy"] == "learned"
    assert result["actions"].get("FOSSILIZE", 0) > 0
    assert result["grown_accuracy"] > result["static_accuracy"]
    assert "the network gives GERMINATE" in finished.stdout
    with sqlite3.connect(tmp_path / result["database"]) as database:
        told = database.execute("SELECT reply, advice FROM journal WHERE kind = 'report'").fetchall()
    database.close()
    assert len(told) == result["epochs"]
    identities = {json.dumps(json.loads(reply)["policy"]) for reply, _ in told}
    assert len(identities) == 1
    assert json.loads(identities.pop())["sha256"] is not None
    fallbacks = [advice for _, advice in told if advice is not None and advice.startswith('"')]
    assert len(fallbacks) < result["epochs"] / 10, fallbacks


def test_demo_refuses_an_existing_database(tmp_path: Path) -> None:
    (tmp_path / "old.db").write_bytes(b"precious")
    finished = subprocess.run(
        [sys.executable, "-m", "tamiyo_cli", "demo", "--database", "old.db"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert finished.returncode == 2
    assert "old.db exists" in finished.stderr
    assert (tmp_path / "old.db").read_bytes() == b"precious"


def test_demo_asks_a_service_that_runs(tmp_path: Path) -> None:
    database = tmp_path / "kept.db"
    command = ["demo", "--dataset", "digits", "--name", "mine", "--json", "result.json", "--url"]
    with local_service(database) as url:
        finished = subprocess.run(
            [sys.executable, "-m", "tamiyo_cli", *command, url],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        kept = httpx.get(f"{url}/runs/mine-digits-0").json()
    assert finished.returncode == 0, finished.stderr
    (result,) = json.loads((tmp_path / "result.json").read_text())
    assert (result["run_id"], result["database"], result["unanswered"]) == ("mine-digits-0", None, 0)
    assert kept["counts"] == result["actions"]
    assert kept["status"] == "COMPLETED"
    assert f"tamiyo why mine-digits-0 {result['epochs']} --url {url}" in finished.stdout


def test_demo_refuses_a_database_beside_a_service_that_runs(tmp_path: Path) -> None:
    command = ["demo", "--url", "http://127.0.0.1:9", "--database", str(tmp_path / "new.db")]
    finished = subprocess.run(
        [sys.executable, "-m", "tamiyo_cli", *command],
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 2
    assert "has a database already" in finished.stderr
