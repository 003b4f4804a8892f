"""The `tamiyo` command: wires the other packages, each imported when its command runs."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line.

    Without the ``service`` extra it says how to install it and exits with status 2.
    """
    try:
        from tamiyo_cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write("tamiyo needs its service extra: pip install 'esper-tamiyo[service]'\n")
        sys.exit(2)
    app()
