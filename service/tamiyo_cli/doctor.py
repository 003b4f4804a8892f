"""``tamiyo doctor``: is everything as it should be, and what to do where it is not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from tamiyo_cli.findings import Finding, Verdict
from tamiyo_cli.options import DEFAULT_URL, AsJson, DatabaseUrl
from tamiyo_cli.terminal import plain

app: Final = typer.Typer()

_STYLES: Final = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "bold red"}


@app.command()
def doctor(
    url: Annotated[
        str | None,
        typer.Option(envvar="TAMIYO_URL", help=f"Where the service is  \\[default: {DEFAULT_URL}, if it is]"),
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Check settings, database, disk, keys, models, and a running service; status 1 if a check failed."""
    found = []
    table = Table()
    for column in ("check", "", "what is so", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in _findings(url, database_url):
        found.append(finding)
        if as_json:
            typer.echo(json.dumps(finding._asdict()))
        style = _STYLES.get(finding.verdict, "dim")
        verdict = plain(finding.verdict.value)
        verdict.stylize(style)
        table.add_row(plain(finding.check), verdict, plain(finding.detail), plain(finding.remedy))
    if not as_json:
        Console().print(table)
    if any(finding.verdict is Verdict.FAILED for finding in found):
        raise typer.Exit(1)


def _findings(url: str | None, database_url: str | None) -> Iterator[Finding]:
    from tamiyo_cli import place_checks
    from tamiyo_cli.service_checks import service_findings

    settings, found = place_checks.settings_of(os.environ)
    yield from found
    if settings is not None:
        place = settings.database_url if database_url is None else database_url
        yield from place_checks.store_findings(place)
        yield from place_checks.key_findings(settings, place)
        yield from place_checks.folder_findings(settings)
        yield from place_checks.model_findings(settings)
    yield from service_findings(DEFAULT_URL if url is None else url, expected=url is not None)
