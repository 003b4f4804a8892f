"""Exports: everything that is listed, as a file, in bounded memory."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from tamiyo_leyline import DecisionRecord
from tamiyo_service.export.flat import COLUMNS, row_of, written
from tamiyo_service.export.formats import as_csv, as_ndjson, parquet_of
from tamiyo_service.export.reading import Told, decisions
from tamiyo_service.store import MemoryStore, Store
from tamiyo_service.store.rows import DecisionFilter

from tests.service.conftest import Service, serving, sql_store
from tests.service.samples import seed
from tests.service.test_store import append, create, entry

FORMATS = ("ndjson", "csv", "parquet")


@pytest.fixture
async def live(closed_store: Store) -> AsyncIterator[Service]:
    """A service over each kind of store, with a little history in it."""
    async with serving(closed_store) as service:
        await service.http.put("/runs/run:1", json={"labels": {"team": "a"}})
        await service.germination("run:1")
        await service.reports("other", 0, 1, val_loss="NaN")
        await service.http.post("/runs/other/rewind", json={"to_epoch": 0, "attempt": 1})
        await service.reports("other", 1, attempt=1)
        yield service


async def lines(service: Service, path: str) -> list[dict[str, Any]]:
    response = await service.http.get(path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def rows(service: Service, path: str, file_format: str) -> list[dict[str, Any]]:
    response = await service.http.get(f"{path}{'&' if '?' in path else '?'}format={file_format}")
    assert response.status_code == 200, response.text
    if file_format == "csv":
        return list(csv.DictReader(io.StringIO(response.text, newline="")))
    listed: list[dict[str, Any]] = parquet.read_table(io.BytesIO(response.content)).to_pylist()
    return listed


@pytest.mark.parametrize("path", ["/export", "/runs/run:1/export", "/export?action=GERMINATE&since_epoch=1"])
async def test_an_export_is_what_the_list_has_the_oldest_first(live: Service, path: str) -> None:
    listed = (await live.get(path.replace("export", "decisions")))["items"]
    assert await lines(live, path) == sorted(listed, key=lambda item: item["decided_at"])
    assert listed


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
async def test_tables_have_a_row_for_each_decision(live: Service, file_format: str) -> None:
    table = await rows(live, "/export", file_format)
    items = await lines(live, "/export")
    assert [list(row) for row in table] == [list(COLUMNS)] * len(items)
    for row, item in zip(table, items, strict=True):
        assert (row["run_id"], row["decision_id"]) == (item["run_id"], item["decision_id"])
        assert int(row["epoch"]) == item["epoch"]
        assert json.loads(row["commands"]) == item["commands"]
        assert row["action"] == item["action"]
        assert row["reason"] == item["commands"][0]["reason"]
        assert str(row["superseded"]).lower() == str(item["superseded"]).lower()
    assert any(item["superseded"] for item in items)
    assert str(table[-1]["val_loss"]) == "1.0"
    assert "nan" in {str(row["val_loss"]) for row in table}


async def test_an_explained_export_has_the_whole_records(live: Service) -> None:
    records = await lines(live, "/runs/run:1/export?explain=true")
    for record in records:
        DecisionRecord.model_validate(record)
        assert record == await live.get(f"/runs/run:1/decisions/{record['epoch']}")
    assert records


async def test_a_record_that_cannot_be_worked_out_says_so() -> None:
    store = MemoryStore()
    async with serving(store) as service:
        await service.reports("run", 0, 1)
        number, last = store.journal.entries.popitem()
        reply = (last.reply or "").replace('"reason":"', '"reason":"not ')
        store.journal.entries[number] = last._replace(reply=reply)
        good, bad = await lines(service, "/runs/run/export?explain=true")
    assert "unexplained" not in good
    assert "other commands" in bad["unexplained"]
    assert bad["epoch"] == 1


@pytest.mark.parametrize(
    ("file_format", "media_type"),
    [
        ("ndjson", "application/x-ndjson"),
        ("csv", "text/csv; charset=utf-8"),
        ("parquet", "application/vnd.apache.parquet"),
    ],
)
async def test_files_have_a_type_and_a_name(live: Service, file_format: str, media_type: str) -> None:
    response = await live.http.get(f"/runs/run:1/export?format={file_format}")
    assert response.headers["content-type"] == media_type
    name = response.headers["content-disposition"]
    assert name.startswith('attachment; filename="tamiyo-run_1-2026')
    assert name.endswith(f'Z.{file_format}"')
    assert 'filename="tamiyo-decisions-' in (await live.http.get("/export")).headers["content-disposition"]


@pytest.mark.parametrize("file_format", FORMATS)
async def test_an_empty_export_is_a_file_too(live: Service, file_format: str) -> None:
    path = f"/runs/run:1/export?since_epoch=900&format={file_format}"
    response = await live.http.get(path)
    assert response.status_code == 200
    if file_format == "parquet":
        assert parquet.read_table(io.BytesIO(response.content)).num_rows == 0
    else:
        assert len(response.text.splitlines()) == (file_format == "csv")


@pytest.mark.parametrize(
    "query", ["format=xml", "explain=true&format=csv", "color=red", "action=SLEEP", "limit=3"]
)
async def test_what_cannot_be_exported_is_refused(live: Service, query: str) -> None:
    response = await live.http.get(f"/export?{query}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid_query")
    assert (await live.http.get("/runs/none/export")).json()["code"] == "run_not_found"


async def test_no_cell_is_a_formula(live: Service) -> None:
    await live.http.put("/runs/run:1/hold", json={"reason": "=cmd|' /C calc'!A0"})
    named = seed(seed_id="@SUM(1)", slot_id="-1+1", blueprint_id="norm", stage="TRAINING")
    await live.reports("run:1", 20, seeds=[named], val_loss=-1.5)
    row = (await rows(live, "/runs/run:1/export", "csv"))[-1]
    assert row["hold"] == "'=cmd|' /C calc'!A0"
    assert row["val_loss"] == "-1.5"
    for text in ("=1", "+1", "-1", "@a", "\tx", "\rx"):
        assert written(text) == f"'{text}"
    assert (written(-1), written("a=1"), written(None), written(True)) == ("-1", "a=1", "", "true")


async def test_what_is_stored_meanwhile_is_left_out(store: Store) -> None:
    run = await create(store)
    await append(store, *(entry(run, seq, seq) for seq in range(1, 251)))
    below = await store.journal.settled()
    for run_pk in (None, run.run_pk):
        wanted, seqs = DecisionFilter(run_pk=run_pk), list[int]()
        async for page in decisions(store, wanted, below):
            seqs += [told.entry.seq for told in page]
            number = (await store.version(run.run_pk) or 0) + 1
            # One that a clock set back puts among those that are still to come.
            await append(store, entry(run, number, number, at=249_500))
        assert seqs == list(range(1, 251))


class Counted:
    """Pages that are told of when they are read."""

    def __init__(self, page: list[Told], count: int) -> None:
        self.left = count
        self._page = page

    async def __aiter__(self) -> AsyncIterator[list[Told]]:
        while self.left:
            self.left -= 1
            yield self._page


LARGE = 200
"""Pages of 100: 20 000 decisions."""


@pytest.fixture
async def page(tmp_path: Path) -> list[Told]:
    """A hundred decisions as they are read."""
    async with serving(sql_store(tmp_path)) as service:
        await service.reports("run", *range(100), grad_norm_host=1.0)
        below = await service.store.journal.settled()
        pages = [page async for page in decisions(service.store, DecisionFilter(), below)]
    assert len(pages[0]) == 100
    return pages[0]


async def _line(told: Told) -> str:
    return told.entry.reply or ""


@pytest.mark.parametrize("file_format", FORMATS)
async def test_memory_stays_the_same_however_long_the_file(page: list[Told], file_format: str) -> None:
    peaks, sizes = [], []
    for count in (LARGE // 10, LARGE):
        pages = Counted(page, count)
        pieces = {
            "ndjson": lambda pages: as_ndjson(pages, _line),
            "csv": as_csv,
            "parquet": parquet_of,
        }[file_format](pages)
        tracemalloc.start()
        sizes.append(sum([len(piece) async for piece in pieces]))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0] + 2**20
    assert sizes[1] > (8 if file_format != "parquet" else 1) * sizes[0]


async def test_a_whole_run_is_exported_in_bounded_memory(tmp_path: Path, page: list[Told]) -> None:
    store = sql_store(tmp_path / "large")
    (tmp_path / "large").mkdir()
    await store.open()
    run = await create(store)
    for first in range(0, LARGE * 100, 500):
        entries = [
            page[seq % 100].entry._replace(run_pk=run.run_pk, seq=seq + 1, epoch=seq, at=seq)
            for seq in range(first, first + 500)
        ]
        await append(store, *entries)
    below = await store.journal.settled()
    tracemalloc.start()
    length = sum(
        [
            piece.count(b"\n")
            async for piece in as_csv(decisions(store, DecisionFilter(run_pk=run.run_pk), below))
        ]
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    await store.close()
    assert length == LARGE * 100 + 1
    assert peak < 8 * 2**20


async def test_nothing_more_is_read_once_the_caller_has_gone(live: Service) -> None:
    await live.reports("long", *range(250))
    arrived, gone = asyncio.Event(), asyncio.Event()
    bodies: list[bytes] = []

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("body"):
            bodies.append(message["body"])
            arrived.set()
            # Takes nothing more until the connection is closed.
            await asyncio.Event().wait()

    path = "/runs/long/export"
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    task = asyncio.create_task(live.app(scope, receive, send))
    await arrived.wait()
    gone.set()
    async with asyncio.timeout(20):
        await task
    assert len(bodies) == 1


_WITHOUT_PYARROW = """
import asyncio, sys
sys.modules["pyarrow"] = None
import httpx
from tamiyo_service.testing import open_app

async def ask():
    async with open_app() as app, httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        return await http.get("http://tamiyo/export?format=parquet")

answer = asyncio.run(ask())
print(answer.status_code, answer.json()["detail"])
"""


def test_parquet_without_pyarrow_names_the_extra() -> None:
    told = subprocess.run(
        [sys.executable, "-c", _WITHOUT_PYARROW], capture_output=True, text=True, check=True
    )
    assert told.stdout.startswith("422 parquet needs pyarrow")
    assert "esper-tamiyo[parquet]" in told.stdout


def test_every_column_is_filled(page: list[Told]) -> None:
    for told in page:
        assert list(row_of(told)) == list(COLUMNS)
