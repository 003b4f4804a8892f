"""What importing the client brings in."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from tamiyo_leyline import ProblemCode

from tests.client.stand_in import StandIn, refuse, reply_with

FRAMEWORKS = ("torch", "numpy", "fastapi", "starlette", "sqlalchemy", "uvicorn", "orjson")


def python(program: str) -> str:
    """Run a program in a fresh interpreter and return what it prints."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60.0, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_client_works_where_the_frameworks_are_not_installed() -> None:
    program = f"""
        import sys

        class NotInstalled:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {FRAMEWORKS!r}:
                    raise ImportError(name)

        sys.meta_path.insert(0, NotInstalled())
        from tamiyo_client import AsyncTamiyoClient, TamiyoClient
        with TamiyoClient("http://127.0.0.1:9", deadline=0.1).run("r", topology="cnn") as run:
            print(run.epoch(epoch=0, available_slots=1).source)
        assert not set(sys.modules) & set({FRAMEWORKS!r})
    """
    assert python(program) == "client"


def test_what_a_trainer_may_not_need_is_imported_when_it_does() -> None:
    program = """
        import sys, tamiyo_client
        print("httpx" in sys.modules, "asyncio" in sys.modules)
        tamiyo_client.TamiyoClient("http://127.0.0.1:9")
        print("httpx" in sys.modules)
    """
    assert python(program) == "False False\nTrue"


TRAINING = """
    import asyncio
    from pydantic import BaseModel
    from tamiyo_client import AsyncTamiyoClient

    def built(schema=BaseModel):
        names = {{schema.__name__}} if schema.__pydantic_complete__ else set()
        return names.union(*map(built, schema.__subclasses__()))

    async def train():
        client = AsyncTamiyoClient({url!r})
        before = built()
        async with client.run("r", topology="cnn") as run:
            said = [(await run.epoch(epoch=epoch, available_slots=1)).reason for epoch in range(4)]
            await run.rewind(2)
            said.append((await run.epoch(epoch=3, available_slots=1)).reason)
            run.outcome("c1", "EXECUTED")
        print(*said, sep="; ")
        print(sorted(built() - before))

    asyncio.run(train())
"""


@pytest.mark.parametrize("is_sync", [True, False])
def test_no_validator_is_built_within_a_trainings_deadlines(service: StandIn, is_sync: bool) -> None:
    newer = b'{"title": "?", "status": 409, "detail": "too new", "code": "of_tomorrow"}'
    service.misbehave.extend(
        [
            *(None, None, reply_with(200, b"what?")),
            *(None, None, None, reply_with(409, newer, "application/problem+json")),
            *(None, refuse(ProblemCode.INVALID_REPORT, detail="odd")),
        ]
    )
    program = TRAINING.format(url=service.url)
    if is_sync:
        for word in ("async ", "await ", "Async"):
            program = program.replace(word, "")
        program = program.replace("asyncio.run(train())", "train()")
    said, late = python(program).splitlines()
    assert all(word in said for word in ("progressing", "no EpochAnswer", "of_tomorrow", "odd")), said
    assert service.runs["r"].client_decisions
    assert service.runs["r"].outcomes == {"c1": "EXECUTED"}
    assert service.runs["r"].result == "succeeded"
    assert late == "[]"
