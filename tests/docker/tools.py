"""The tools that look at files of docker/, as they are installed beside the interpreter."""

from __future__ import annotations

import sys
from pathlib import Path


def tool(name: str) -> str:
    """The path of a tool of docker/requirements/tools.txt."""
    file = Path(sys.executable).with_name(name)
    assert file.exists(), f"{name} is missing; `make test-docker` installs it"
    return str(file)
