"""What importing the client brings in."""

from __future__ import annotations

import subprocess
import sys
import textwrap

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
