"""``tamiyo runs`` and ``tamiyo decisions``: what a service remembers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from tamiyo_leyline import DecisionItem, RunStatus
from tamiyo_leyline.api import MAX_PAGE, Page, RunView

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
from tamiyo_cli.remote import Remote, first, given, of_run, tell_more, told_in_a_line
from tamiyo_cli.terminal import plain

app: Final = typer.Typer()


@app.command()
def runs(
    status: Annotated[
        RunStatus | None, typer.Option(case_sensitive=False, help="Only runs of this status.")
    ] = None,
    label: Labels = None,
    policy: Annotated[str | None, typer.Option(help="Only runs that this policy decides.")] = None,
    silent_for: Annotated[
        str | None,
        typer.Option(help="Only runs without a report for this long: seconds, or such as 30m."),
    ] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List the runs a service knows, the newest first."""
    parameters = given(
        status=None if status is None else status.value,
        label=label_filters(label),
        policy=policy,
        silent_for=None if silent_for is None else _seconds(silent_for),
    )
    with told_in_a_line("runs"), Remote(url) as remote:
        some = remote.some(Page[RunView], "/runs", limit=limit, parameters=parameters)
    if as_json:
        _write_lines(some.items)
    elif some.items:
        _show_runs(some.items)
    else:
        typer.echo("no run is like that" if parameters else "no runs yet")
    tell_more(some, limit)


@app.command()
def decisions(
    run_id: RunId,
    action: Actions = None,
    policy: Annotated[str | None, typer.Option(help="Only what this policy decided.")] = None,
    attempt: Annotated[int | None, typer.Option(min=0, help="Only this attempt.")] = None,
    since_epoch: SinceEpoch = None,
    until_epoch: UntilEpoch = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List a run's decisions, the newest first, and what became of them."""
    parameters = given(action=action, policy=policy, since_epoch=since_epoch, until_epoch=until_epoch)
    with told_in_a_line("decisions"), Remote(url) as remote:
        page = limit + 1 if attempt is None else MAX_PAGE
        some = first(decisions_of(remote, run_id, parameters, attempt, page), limit)
    if as_json:
        _write_lines(some.items)
    elif some.items:
        _show_decisions(some.items)
    else:
        filtered = parameters or attempt is not None
        typer.echo(f"no decision of {run_id} is like that" if filtered else f"no decisions of {run_id} yet")
    tell_more(some, limit)


def decisions_of(
    remote: Remote, run_id: str, parameters: Mapping[str, Any], attempt: int | None, page: int
) -> Iterator[DecisionItem]:
    """The decisions of a run, the newest first.

    Args:
        remote: the service.
        run_id: the run.
        parameters: filters that the service knows.
        attempt: only those of this one; None: of all.
        page: how many to ask for at a time.
    """
    items = remote.pages(Page[DecisionItem], of_run(run_id, "/decisions"), limit=page, parameters=parameters)
    return (item for item in items if attempt in (None, item.attempt))


def count_lines(counts: Mapping[str, int]) -> str:
    """Counts by action, one line each."""
    return "\n".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    # The service's own reading of durations, loaded only when it is needed.
    from tamiyo_service.retention.durations import parse_duration

    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--silent-for") from error


def _show_runs(found: Sequence[RunView]) -> None:
    table = _table("run", "status", "attempt", "last epoch", "policy", "decisions")
    for run in found:
        last = "–" if run.last_epoch is None else str(run.last_epoch)
        counts = count_lines(run.counts)
        table.add_row(*map(plain, (run.run_id, run.status, str(run.attempt), last, run.policy.name, counts)))
    Console().print(table)


def _show_decisions(items: Sequence[DecisionItem]) -> None:
    table = _table("epoch", "action", "sure", "became", "reason")
    for item in items:
        for row in _rows(item):
            table.add_row(*map(plain, row))
    Console().print(table)


def _rows(item: DecisionItem) -> Iterator[tuple[str, ...]]:
    became = {outcome.command_id: outcome.status for outcome in item.outcomes}
    for command in item.commands:
        yield (
            _epoch(item),
            item.action if len(item.commands) == 1 else command.command_type,
            f"{command.confidence:.0%}",
            became.get(command.command_id, ""),
            command.reason,
        )


def _epoch(item: DecisionItem) -> str:
    attempt = f" of attempt {item.attempt}" if item.attempt else ""
    return f"{item.epoch}{attempt}{', superseded' if item.superseded else ''}"


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in {"action", "decisions"})
    return table


def _write_lines(items: Iterable[BaseModel]) -> None:
    for item in items:
        typer.echo(item.model_dump_json())
