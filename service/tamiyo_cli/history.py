"""``tamiyo runs``, ``tamiyo decisions`` and ``tamiyo why``: what a service remembers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice

import typer
from rich.console import Console
from rich.table import Table
from tamiyo_client import TamiyoClient, TamiyoError
from tamiyo_leyline import DecisionItem, DecisionRecord, SlotDecision

from tamiyo_cli.terminal import harmless, plain

_DEADLINE_SECONDS = 10.0


def show_runs(url: str, *, limit: int, as_json: bool) -> None:
    """List the newest runs, one line each."""
    with _client(url) as client:
        runs = list(islice(client.list_runs(), limit))
    if as_json:
        _write_lines(run.model_dump_json() for run in runs)
        return
    table = _table("run", "status", "attempt", "last epoch", "policy", "decisions")
    for run in runs:
        last = "–" if run.last_epoch is None else str(run.last_epoch)
        policy, counts = run.policy.name, count_lines(run.counts)
        table.add_row(*map(plain, (run.run_id, run.status, str(run.attempt), last, policy, counts)))
    Console().print(table)


def show_decisions(url: str, run_id: str, *, actions: Sequence[str], limit: int, as_json: bool) -> None:
    """List a run's decisions, the newest first, one line each."""
    with _client(url) as client:
        items = list(islice(client.decisions(run_id, action=tuple(actions)), limit))
    if as_json:
        _write_lines(item.model_dump_json() for item in items)
        return
    table = _table("epoch", "action", "sure", "became", "reason")
    for item in items:
        for row in _rows(item):
            table.add_row(*map(plain, row))
    Console().print(table)


def show_why(url: str, run_id: str, epoch: int, *, as_json: bool) -> None:
    """Tell why one decision was made: the numbers compared, slot by slot."""
    with _client(url) as client:
        record = client.decision(run_id, epoch)
    if as_json:
        _write_lines([record.model_dump_json()])
        return
    console = Console()
    where = f"attempt {record.attempt}, epoch {record.epoch}"
    console.print(plain(f"{record.run_id}, {where}: {record.action}"), style="bold")
    for slot in record.slots:
        console.print(plain(_slot_title(slot)), style="italic")
        console.print(_slot_table(slot))
    for line in _remarks(record):
        console.print(plain(line))


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


def _slot_title(slot: SlotDecision) -> str:
    about = "germination" if slot.seed_id is None else f"seed {slot.seed_id} in {slot.slot_id}"
    runner_up = f"; runner-up {slot.runner_up}" if slot.runner_up else ""
    return f"{about}: {slot.action} ({slot.reason}; confidence {slot.confidence:.2f}{runner_up})"


def _slot_table(slot: SlotDecision) -> Table:
    table = Table()
    for column in ("compared", "value", "threshold", "holds"):
        table.add_column(column)
    for compared in slot.comparisons:
        value = "not measured" if compared.value is None else f"{compared.value:g}"
        verdict = "yes" if compared.holds else "no"
        table.add_row(*map(plain, (compared.name, value, f"{compared.threshold:g}", verdict)))
    return table


def _remarks(record: DecisionRecord) -> Iterator[str]:
    if record.embargo_until_epoch is not None:
        yield f"embargo until epoch {record.embargo_until_epoch}"
    for name, penalty in record.penalties.items():
        yield f"penalty of {name}: {penalty:.2f}"
    for outcome in record.outcomes:
        yield f"{outcome.command_id} became {outcome.status} in epoch {outcome.epoch} {outcome.detail}"
    for warning in record.warnings:
        yield f"warning: {warning}"


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in {"action", "decisions"})
    return table


def count_lines(counts: Mapping[str, int]) -> str:
    """Counts by action, one line each."""
    return "\n".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _write_lines(lines: Iterator[str] | Sequence[str]) -> None:
    for line in lines:
        typer.echo(line)


@contextmanager
def _client(url: str) -> Iterator[TamiyoClient]:
    """A client whose errors end the command with status 1 and one line."""
    try:
        with TamiyoClient(url, deadline=_DEADLINE_SECONDS) as client:
            yield client
    except TamiyoError as error:
        typer.echo(f"tamiyo: {harmless(str(error))}", err=True)
        raise typer.Exit(1) from error
