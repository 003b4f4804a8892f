"""The servers that `bench/service.py` compares; each runs in a process of its own.

``tamiyo`` is the real service, ``tamiyo_learned`` the same with a network that decides; ``fastapi`` is a bare
FastAPI endpoint with the same body and reply models that decides and stores nothing; ``starlette`` answers
every request with the same bytes.
"""

from __future__ import annotations

import argparse
import gc
import os
import warnings
from datetime import UTC, datetime
from typing import Any, Final, Literal

import uvicorn
from fastapi import FastAPI
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tamiyo_leyline import ActionKind, DecisionReply, EpochReport, PolicyIdentity, command_for
from tamiyo_service import Settings, serve

PATH: Final = "/runs/{run_id}/epoch"
POLICIES: Final[dict[str, Literal["heuristic", "learned"]]] = {
    "tamiyo": "heuristic",
    "tamiyo_learned": "learned",
    "tamiyo_keyed": "heuristic",
}
"""Of the kinds that are the real service, the policy of new runs."""
KEYED: Final = "tamiyo_keyed"
"""The kind whose callers need keys."""


def fixed_reply() -> DecisionReply:
    """The reply of the servers that decide nothing: as long as a real one."""
    command = command_for(
        ActionKind.WAIT,
        command_id="bench-fastapi-0@0.1234.1",
        issued_at=datetime(2026, 1, 1, 12, 30, 15, 123456, UTC),
        epoch=1234,
        reason="TRAINING: improvement +2.75 points; 1 live seed of at most 1",
        confidence=0.5,
    )
    return DecisionReply(
        run_id="bench-fastapi-0",
        attempt=0,
        epoch=1234,
        decision_id="bench-fastapi-0@0.1234",
        commands=(command,),
        policy=PolicyIdentity(name="heuristic", version="1"),
    )


def bare_fastapi() -> FastAPI:
    """FastAPI with request and response models, and nothing else."""
    # FastAPI hides this warning where it builds schemas, but not for those built when first used.
    warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)
    app = FastAPI()
    reply = fixed_reply()

    @app.post(PATH)
    async def decide(run_id: str, report: EpochReport) -> DecisionReply:
        return reply

    return app


def bare_starlette() -> Starlette:
    """Starlette with a fixed answer."""
    body = fixed_reply().model_dump_json().encode()

    async def decide(request: Request) -> Response:
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route(PATH, decide, methods=["POST"])])


class _Frozen(uvicorn.Server):
    """The same treatment of the garbage collector that the service gives itself."""

    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)


def run(kind: str, port: int, database_url: str) -> None:
    """Serve until told to stop."""
    if kind in POLICIES:
        policy = POLICIES[kind]
        auth: Literal["required", "off"] = "required" if kind == KEYED else "off"
        options: dict[str, Any] = {"port": port, "database_url": database_url, "log_level": "warning"}
        serve(Settings(**options, default_policy=policy, auth=auth))
        return
    app = bare_fastapi() if kind == "fastapi" else bare_starlette()
    config = uvicorn.Config(
        app, port=port, loop="uvloop", http="httptools", ws="none", log_level="warning", access_log=False
    )
    _Frozen(config).run()


def main() -> None:
    """Run the server that the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=[*POLICIES, "fastapi", "starlette"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--database-url", default="", help="of Tamiyo")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    run(arguments.kind, arguments.port, arguments.database_url)


if __name__ == "__main__":
    main()
