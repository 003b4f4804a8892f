"""The file that results of long work go to: looked at before the work, written after it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer

from tamiyo_cli.terminal import harmless


def require_writable(command: str, file: Path | None) -> None:
    """Return if results can go to a file, or are to go nowhere.

    Raises:
        typer.Exit: with status 1, after saying why, if they cannot.
    """
    if file is None:
        return
    folder = file.absolute().parent
    if file.is_dir():
        _refuse(command, f"{file} is a folder; name a file for the results")
    if not folder.is_dir():
        _refuse(command, f"there is no folder {folder} for the results; make it first")
    if not os.access(file if file.exists() else folder, os.W_OK):
        _refuse(command, f"{file} cannot be written; name another file for the results")


def write_results(command: str, file: Path | None, results: Sequence[Mapping[str, Any]]) -> None:
    """Write results as a JSON list.

    Raises:
        typer.Exit: with status 1, after saying why, if that does not work.
    """
    if file is None:
        return
    try:
        file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        _refuse(command, f"the results could not be written to {file}: {error.strerror}")


def _refuse(command: str, reason: str) -> NoReturn:
    typer.echo(f"tamiyo {command}: {harmless(reason)}", err=True)
    raise typer.Exit(1)
