"""``tamiyo prune``: delete what need not be kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import typer
from tamiyo_service.clock import from_micros
from tamiyo_service.errors import TamiyoError
from tamiyo_service.pruning import PruneError, Vacuumed, pruning, require_vacuumable, vacuum
from tamiyo_service.retention.archive import ArchiveError
from tamiyo_service.retention.durations import parse_duration
from tamiyo_service.retention.rules import Rules
from tamiyo_service.retention.sweep import Swept
from tamiyo_service.settings import Settings
from tamiyo_service.store.dialect import DatabaseUnusableError, DatabaseUrlError
from tamiyo_service.store.expired import Expired

from tamiyo_cli.environment import settings_for
from tamiyo_cli.terminal import harmless

_MIB = 2**20


def prune_runs(
    *,
    completed_for: str | None,
    silent_for: str | None,
    archive: Path | None,
    database_url: str | None,
    dry_run: bool,
    vacuum_after: bool,
    as_json: bool,
) -> None:
    """Delete expired runs, or tell which they are.

    Raises:
        typer.BadParameter: if the options are not enough, or wrong.
        typer.Exit: with status 1, after saying why, if it cannot be done.
    """
    settings = settings_for("prune")
    rules = _rules(settings, completed_for, silent_for)
    url = settings.database_url if database_url is None else database_url
    try:
        if dry_run:
            asyncio.run(_list(url, rules, as_json=as_json))
        else:
            if vacuum_after:
                require_vacuumable(url)
            swept = asyncio.run(_sweep(url, rules, settings.archive if archive is None else archive))
            _write(swept, vacuum(url) if vacuum_after else None, as_json=as_json)
    except (TamiyoError, PruneError, ArchiveError, DatabaseUrlError, DatabaseUnusableError) as error:
        typer.echo(f"tamiyo prune: {harmless(str(error))}", err=True)
        raise typer.Exit(1) from error


async def _list(url: str, rules: Rules, *, as_json: bool) -> None:
    async with pruning(url, rules) as sweep:
        async for expired in sweep.expired():
            typer.echo(_line_json(expired) if as_json else _line(expired))


async def _sweep(url: str, rules: Rules, archive: Path | None) -> Swept:
    async with pruning(url, rules, archive=archive) as sweep:
        return await sweep.run()


def _rules(settings: Settings, completed_for: str | None, silent_for: str | None) -> Rules:
    """The rules of the command line; those of the settings only if it has none."""
    if completed_for is None and silent_for is None:
        rules = Rules(completed_for=settings.retention, silent_for=settings.retention_silent)
    else:
        completed = _duration("--completed-for", completed_for)
        rules = Rules(completed_for=completed, silent_for=_duration("--silent-for", silent_for))
    if not rules.any:
        raise typer.BadParameter(
            "say which runs: --completed-for 90d, --silent-for 30d, or set TAMIYO_RETENTION"
        )
    return rules


def _duration(option: str, text: str | None) -> timedelta | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _line(expired: Expired) -> str:
    last = from_micros(expired.last_at).isoformat(timespec="seconds")
    run = expired.run
    return f"{harmless(run.run_id)}  {run.status.value}  {expired.seq} inputs  last reached {last}"


def _line_json(expired: Expired) -> str:
    run = expired.run
    told = {"run_id": run.run_id, "status": run.status.value, "inputs": expired.seq}
    return json.dumps(told | {"last_reached_at": from_micros(expired.last_at).isoformat()})


def _write(swept: Swept, vacuumed: Vacuumed | None, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(swept) | ({} if vacuumed is None else vacuumed._asdict())))
        return
    for line in _summary(swept, vacuumed):
        typer.echo(line)


def _summary(swept: Swept, vacuumed: Vacuumed | None) -> Iterator[str]:
    archived = f", archived in {swept.archived_bytes / _MIB:.2f} MiB" if swept.archived_bytes else ""
    yield f"{swept.runs} runs with {swept.inputs} inputs deleted{archived}; {swept.seconds:.1f} s"
    if swept.spared:
        yield f"{swept.spared} runs were spared: something reached them meanwhile"
    if swept.waiting:
        yield f"{swept.waiting} runs wait for their archive: name it with --archive"
    if vacuumed is not None:
        before, after = vacuumed.bytes_before / _MIB, vacuumed.bytes_after / _MIB
        yield f"the database went from {before:.2f} to {after:.2f} MiB"
