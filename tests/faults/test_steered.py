"""Operators steer while trainers report and go back, and the service is killed: then all views agree."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any, Final

import httpx
from tamiyo_cli import sse

from tests.faults.services import running
from tests.faults.trainers import PAUSE, AtWork, listed, lively
from tests.service.processes import free_port

RUNS: Final = ("a", "b", "c")
KILLS: Final = 3
BETWEEN_KILLS: Final = 60
"""Decisions."""
BACK: Final = 12
"""Epochs after which a trainer goes back by a few."""
_ACTS: Final[tuple[tuple[str, str, dict[str, Any] | None], ...]] = (
    ("PUT", "hold", {"reason": "look"}),
    ("DELETE", "hold", None),
    ("POST", "override", {"action": "GERMINATE_NORM", "reason": "try"}),
    ("POST", "override", {"action": "CULL", "reason": "enough"}),
    ("DELETE", "override", None),
    ("POST", "policy", {"policy": {"name": "learned"}, "reason": "try"}),
    ("POST", "policy", {"policy": {"name": "heuristic"}, "reason": "back"}),
    ("PUT", "labels", {"labels": {"seen": "yes"}}),
)


class Crowd(AtWork):
    """Trainers and operators of some runs, none of whom gives up.

    Args:
        url: of the service.

    Attributes:
        told: every acknowledged reply, by run, attempt and epoch.
        noted: the texts of acknowledged notes, by run.
        acts: how many others of an operator's acts were acknowledged.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.told: dict[tuple[str, int, int], dict[str, Any]] = {}
        self.noted: dict[str, set[str]] = {run_id: set() for run_id in RUNS}
        self.acts = 0
        self._http = httpx.AsyncClient(base_url=url, timeout=30)

    @property
    def decisions(self) -> int:
        """Acknowledged so far."""
        return len(self.told)

    def start(self) -> None:
        """Begin to train, and to steer."""
        self.begin(*map(self._train, RUNS), *map(self._steer, RUNS))

    async def finish(self) -> None:
        """Let everybody finish what they are at."""
        await super().finish()
        await self._http.aclose()

    async def _train(self, run_id: str) -> None:
        attempt = epoch = 0
        turn = BACK
        while not self._enough:
            answer = await self._done("POST", f"/runs/{run_id}/epoch", lively(epoch) | {"attempt": attempt})
            assert answer.status_code == 200, answer.text
            self.told[run_id, attempt, epoch] = answer.json()
            epoch += 1
            if epoch == turn:
                attempt += 1
                back = {"to_epoch": epoch - 5, "attempt": attempt}
                answer = await self._done("POST", f"/runs/{run_id}/rewind", back)
                assert answer.status_code == 200, answer.text
                epoch -= 4
                turn += BACK

    async def _steer(self, run_id: str) -> None:
        chance = random.Random(run_id)
        number = 0
        while not self._enough:
            number += 1
            text = f"note {number}"
            answer = await self._done("POST", f"/runs/{run_id}/notes", {"text": text})
            if answer.status_code == 201:
                self.noted[run_id].add(text)
            method, path, body = chance.choice(_ACTS)
            answer = await self._done(method, f"/runs/{run_id}/{path}", body)
            assert answer.status_code in (200, 404, 409, 422), answer.text
            self.acts += answer.status_code == 200
            await asyncio.sleep(PAUSE)

    async def _done(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        while True:
            try:
                answer = await self._http.request(method, path, json=body)
            except httpx.TransportError:
                await asyncio.sleep(PAUSE)
                continue
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(PAUSE)


async def test_what_operators_and_trainers_did_is_all_there_after_kills_and_every_view_tells_the_same(
    database_url: str,
) -> None:
    port = free_port()
    crowd = Crowd(f"http://127.0.0.1:{port}")
    crowd.start()
    for _ in range(KILLS):
        with running(database_url, port) as service:
            await crowd.progress(BETWEEN_KILLS)
            service.kill()
    with running(database_url, port) as service:
        await crowd.progress(BETWEEN_KILLS)
        await crowd.finish()
        assert crowd.acts > 10
        with httpx.Client(base_url=service.url, timeout=30) as http:
            exported = [json.loads(line) for line in http.get("/export").text.splitlines()]
            assert commands_by_place(exported) == commands_by_place(crowd.told.values())
            followed = [event for event in events(http, len(exported)) if event["type"] == "decision"]
            assert commands_by_place([event["data"] for event in followed]) == commands_by_place(exported)
            assert len(followed) == len(exported)
            for run_id in RUNS:
                require_whole(http, crowd, run_id)


def commands_by_place(decisions: Any) -> dict[tuple[str, int, int], list[dict[str, Any]]]:
    """What each decision commanded."""
    return {(one["run_id"], one["attempt"], one["epoch"]): one["commands"] for one in decisions}


def require_whole(http: httpx.Client, crowd: Crowd, run_id: str) -> None:
    """Return if a run's list, notes, records and replay tell what was acknowledged."""
    history = listed(http, run_id)
    mine = [decision for (run, *_), decision in crowd.told.items() if run == run_id]
    assert commands_by_place(history) == commands_by_place(mine)
    notes = [note["text"] for note in http.get(f"/runs/{run_id}/notes?limit=1000").json()["items"]]
    assert crowd.noted[run_id] <= set(notes)
    for decision in history[:: len(history) // 20]:
        path = f"/runs/{run_id}/decisions/{decision['epoch']}?attempt={decision['attempt']}"
        assert http.get(path).json()["commands"] == decision["commands"]
    counting = [decision for decision in history if not decision["superseded"]]
    assert http.get(f"/runs/{run_id}").json()["last_epoch"] == counting[-1]["epoch"]
    replay = http.post(f"/runs/{run_id}/replay", json={"policy": {"name": "heuristic"}}).json()
    assert replay["failure"] is None
    assert [item["decision_id"] for item in replay["items"]] == [one["decision_id"] for one in counting]


def events(http: httpx.Client, decisions: int) -> Iterator[dict[str, Any]]:
    """What the live stream tells from the first thing on, until it has told so many decisions."""
    told = 0
    with http.stream("GET", "/events?since_id=0") as stream:
        for event in sse.events(stream.iter_lines(), "0"):
            if event.data:
                yield json.loads(event.data)
                told += event.type == "decision"
                if told == decisions:
                    return
