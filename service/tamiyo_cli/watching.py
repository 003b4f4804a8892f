"""``tamiyo show``, ``follow``, ``export`` and ``field-reports``: what a service tells of runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer
from rich.console import Console
from rich.table import Table
from tamiyo_leyline import FieldReport
from tamiyo_leyline.api import Page, RunView

from tamiyo_cli.following import follow_events
from tamiyo_cli.options import (
    DEFAULT_URL,
    Actions,
    AsJson,
    Labels,
    Limit,
    RunId,
    SinceEpoch,
    UntilEpoch,
    Url,
    label_filters,
)
from tamiyo_cli.remote import RefusedError, Remote, of_run, tell_more, told_in_a_line
from tamiyo_cli.terminal import harmless, plain

app: Final = typer.Typer()

_STANDARD_OUTPUT: Final = "-"


@app.command()
def show(run_id: RunId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show a run as it stands: status, policy, decisions so far, seeds, labels."""
    with told_in_a_line("show"), Remote(url) as remote:
        view = remote.read(RunView, "GET", of_run(run_id))
    if as_json:
        typer.echo(view.model_dump_json())
        return
    console = Console()
    console.print(
        plain(f"{view.run_id}: {view.status.value}{f' ({view.result.value})' if view.result else ''}")
    )
    console.print(_facts(view))
    if view.seeds:
        console.print(_seeds(view))


@app.command()
def follow(
    run_id: Annotated[str | None, typer.Argument(help="Only this run  \\[default: all of them]")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only this type of event (repeatable), such as decision."),
    ] = None,
    label: Labels = None,
    since_id: Annotated[
        str | None,
        typer.Option(
            help="Begin after this event, 0: with the first there is  \\[default: what is yet to happen]"
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Tell what happens, as it happens, until Ctrl-C; a broken connection is taken up where it broke off."""
    if run_id is not None and label:
        raise typer.BadParameter("goes with all runs, not with one", param_hint="--label")
    wanted: dict[str, Any] = {"type": kind, "label": label_filters(label), "since_id": since_id}
    parameters = {name: value for name, value in wanted.items() if value}
    follow_events(url, run_id, parameters=parameters, limit=limit, as_json=as_json)


@app.command()
def export(
    run_id: Annotated[str | None, typer.Argument(help="Only this run  \\[default: all of them]")] = None,
    out: Annotated[str, typer.Option(help="Where the file goes; - is standard output.")] = _STANDARD_OUTPUT,
    file_format: Annotated[str, typer.Option("--format", help="ndjson, csv or parquet.")] = "ndjson",
    action: Actions = None,
    since_epoch: SinceEpoch = None,
    until_epoch: UntilEpoch = None,
    explain: Annotated[bool, typer.Option("--explain", help="Whole records; ndjson only, and slow.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Write the decisions of this moment to a file, the oldest first."""
    wanted: dict[str, Any] = {
        "format": file_format,
        "action": action,
        "since_epoch": since_epoch,
        "until_epoch": until_epoch,
        "explain": "true" if explain else None,
    }
    parameters = {name: value for name, value in wanted.items() if value is not None}
    with told_in_a_line("export"), Remote(url) as remote:
        path = "/export" if run_id is None else of_run(run_id, "/export")
        size = _download(remote, path, parameters, out, force=force)
    if out != _STANDARD_OUTPUT:
        told = json.dumps({"file": out, "size_bytes": size})
        typer.echo(told if as_json else harmless(f"{out}: {size} bytes"))


@app.command("field-reports")
def field_reports(run_id: RunId, limit: Limit = 50, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Tell what became of a run's seeds, the latest end first."""
    with told_in_a_line("field-reports"), Remote(url) as remote:
        reports = remote.some(Page[FieldReport], of_run(run_id, "/field-reports"), limit=limit)
    if as_json:
        for report in reports.items:
            typer.echo(report.model_dump_json())
    elif reports.items:
        Console().print(_field_reports(reports.items))
    else:
        typer.echo(f"no seed of {run_id} has come to its end yet")
    tell_more(reports, limit)


def _facts(view: RunView) -> Table:
    last = "none yet" if view.last_epoch is None else str(view.last_epoch)
    seen = "never" if view.last_report_at is None else view.last_report_at.isoformat(timespec="seconds")
    facts = {
        "last epoch": f"{last}{f' of attempt {view.attempt}' if view.attempt else ''}",
        "last report": seen,
        "created": view.created_at.isoformat(timespec="seconds"),
        "policy": f"{view.policy.name} {view.policy.version}",
        **_hold(view),
        **_order(view),
        "topology": view.config.topology.name,
        "decisions": ", ".join(f"{count} {name}" for name, count in sorted(view.counts.items()))
        or "none yet",
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(view.labels.items())) or "none",
    }
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(plain(name), plain(value))
    return table


def _hold(view: RunView) -> dict[str, str]:
    """Why an operator holds the run."""
    hold = view.hold
    if hold is None:
        return {}
    by = "" if hold.by is None else f" ({hold.by})"
    return {"held": f"since {hold.since.isoformat(timespec='seconds')}: {hold.reason}{by}"}


def _order(view: RunView) -> dict[str, str]:
    """What an operator ordered for the next report."""
    order = view.override
    if order is None:
        return {}
    about = "" if order.target_seed_id is None else f" of {order.target_seed_id}"
    by = "" if order.by is None else f" ({order.by})"
    return {"next report": f"{order.action}{about}, ordered: {order.reason}{by}"}


def _seeds(view: RunView) -> Table:
    table = Table()
    for column in ("seed", "slot", "blueprint", "stage"):
        table.add_column(column, overflow="fold")
    for seed in view.seeds:
        table.add_row(*map(plain, (seed.seed_id, seed.slot_id, seed.blueprint_id, seed.stage.name)))
    return table


def _field_reports(reports: Sequence[FieldReport]) -> Table:
    table = Table()
    for column in ("seed", "blueprint", "epochs", "ended", "improvement", "attributed", "why"):
        table.add_column(column, overflow="fold")
    for report in reports:
        table.add_row(*map(plain, _row(report)))
    return table


def _row(report: FieldReport) -> tuple[str, ...]:
    why = report.failure_reason or (report.ended_by.reason if report.ended_by else "")
    return (
        f"{report.seed_id}{' (superseded)' if report.superseded else ''}",
        report.blueprint_id,
        f"{report.germinated_epoch}–{report.completed_epoch}",
        report.final_stage.name,
        _points(report.total_improvement),
        _points(report.attributed_improvement),
        why,
    )


def _points(improvement: float | None) -> str:
    return "not measured" if improvement is None else f"{improvement:+.2f}"


def _download(remote: Remote, path: str, parameters: dict[str, Any], out: str, *, force: bool) -> int:
    """Write an export; what breaks off leaves no file behind. The size of it.

    Raises:
        RefusedError: if the service refuses, or the file cannot be written.
    """
    if out != _STANDARD_OUTPUT and Path(out).exists() and not force:
        raise RefusedError(f"{out} exists; --force replaces it")
    with remote.stream(path, params=parameters) as response:
        if out == _STANDARD_OUTPUT:
            return _write(response.iter_bytes(), sys.stdout.buffer)
        draft = Path(f"{out}.part")
        try:
            with draft.open("wb") as file:
                size = _write(response.iter_bytes(), file)
            draft.replace(out)
        except OSError as error:
            raise RefusedError(f"{out} cannot be written: {error.strerror}") from error
        finally:
            # Where no draft could be begun, there is none to take away.
            with suppress(OSError):
                draft.unlink()
        return size


def _write(pieces: Any, file: BinaryIO) -> int:
    size = 0
    for piece in pieces:
        file.write(piece)
        size += len(piece)
    file.flush()
    return size
