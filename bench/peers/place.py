"""Where a server is told to run."""

from __future__ import annotations

import argparse
import os


def placed() -> int:
    """Go to the core that the arguments name; the port to serve on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    port: int = arguments.port
    return port
