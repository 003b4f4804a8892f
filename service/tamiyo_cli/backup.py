"""``tamiyo backup``: a consistent copy of a database in use."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from tamiyo_service.backup import Backup, BackupError, back_up

from tamiyo_cli.environment import settings_for
from tamiyo_cli.terminal import harmless

_MIB = 2**20


def back_up_database(file: Path, *, database_url: str | None, overwrite: bool, as_json: bool) -> None:
    """Copy the database to a file, check the copy, and tell what is in it.

    Raises:
        typer.Exit: with status 1, after saying why, if there is no copy.
    """
    url = settings_for("backup").database_url if database_url is None else database_url
    try:
        backup = _copied(url, file, overwrite=overwrite)
    except BackupError as error:
        typer.echo(f"tamiyo backup: {harmless(str(error))}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps(asdict(backup) | {"file": str(backup.file)}))
    else:
        size = f"{backup.size_bytes / _MIB:.2f} MiB in {backup.seconds:.1f} s, checked"
        typer.echo(f"{backup.file}: {backup.runs} runs, {backup.decisions} decisions, {size}")


def _copied(url: str, file: Path, *, overwrite: bool) -> Backup:
    """The copy, with a bar on a terminal while it is made."""
    columns = (TextColumn("copying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("copy")
        return back_up(
            url,
            file,
            overwrite=overwrite,
            progress=lambda copied, pages: bar.update(task, completed=copied, total=pages),
        )
