"""``tamiyo why``: the numbers behind a decision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from tamiyo_leyline import DecisionRecord, SlotDecision, TelemetryEventType
from tamiyo_leyline.api import MAX_PAGE
from tamiyo_leyline.decision import ShadowDecision

from tamiyo_cli.history import decisions_of
from tamiyo_cli.options import DEFAULT_URL, AsJson, RunId, Url
from tamiyo_cli.remote import RefusedError, Remote, of_run, told_in_a_line
from tamiyo_cli.terminal import plain

app: Final = typer.Typer()

_WHO_DECIDED: Final = {
    TelemetryEventType.OPERATOR_OVERRIDE: "order",
    TelemetryEventType.POLICY_FALLBACK: "fallback",
}
"""Events that tell why it was not the policy that decided."""


@app.command()
def why(
    run_id: RunId,
    epoch: Annotated[
        int | None, typer.Argument(min=0, help="The epoch decided about  \\[default: the latest]")
    ] = None,
    attempt: Annotated[
        int | None, typer.Option(min=0, help="Of this attempt  \\[default: the latest that has the epoch]")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Tell why a decision was made: who decided, the numbers each rule compared, and the runner-up."""
    with told_in_a_line("why"), Remote(url) as remote:
        if epoch is None:
            epoch, attempt = _latest(remote, run_id, attempt)
        parameters = {} if attempt is None else {"attempt": attempt}
        record = remote.read(DecisionRecord, "GET", of_run(run_id, f"/decisions/{epoch}"), params=parameters)
    if as_json:
        typer.echo(record.model_dump_json())
    else:
        _tell(record)


def _latest(remote: Remote, run_id: str, attempt: int | None) -> tuple[int, int]:
    """Epoch and attempt of the latest decision.

    Raises:
        RefusedError: if there is none.
    """
    page = 1 if attempt is None else MAX_PAGE
    item = next(decisions_of(remote, run_id, {}, attempt, page), None)
    if item is None:
        of_attempt = " yet" if attempt is None else f" in attempt {attempt}"
        raise RefusedError(f"nothing was decided about {run_id}{of_attempt}")
    return item.epoch, item.attempt


def _tell(record: DecisionRecord) -> None:
    console = Console()
    where = f"attempt {record.attempt}, epoch {record.epoch}"
    console.print(plain(f"{record.run_id}, {where}: {record.action}"), style="bold")
    for line in _heads(record):
        console.print(plain(line), highlight=False)
    for slot in record.slots:
        console.print(plain(_slot_title(slot)), style="italic")
        if slot.comparisons:
            console.print(_slot_table(slot))
    for line in remarks(record):
        console.print(plain(line), highlight=False)


def _heads(record: DecisionRecord) -> Iterator[str]:
    """Who decided, and whether that counts."""
    superseded = "; superseded by a rewind" if record.superseded else ""
    yield f"decided by {record.policy.name} {record.policy.version}{superseded}"
    for event in record.events:
        if event.type in _WHO_DECIDED:
            yield f"{_WHO_DECIDED[event.type]}: {event.message}"


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


def remarks(record: DecisionRecord) -> Iterator[str]:
    """What else bears on a decision, line by line: embargo, penalties, outcomes, warnings, shadows."""
    if record.embargo_until_epoch is not None:
        yield f"embargo until epoch {record.embargo_until_epoch}"
    for name, penalty in record.penalties.items():
        yield f"penalty of {name}: {penalty:.2f}"
    for outcome in record.outcomes:
        detail = f": {outcome.detail}" if outcome.detail else ""
        yield f"{outcome.command_id} became {outcome.status} in epoch {outcome.epoch}{detail}"
    for warning in record.warnings:
        yield f"warning: {warning}"
    for shadow in record.shadow:
        verdict = "agrees" if shadow.agrees else "differs"
        yield f"{shadow.policy.name} {shadow.policy.version}, in the shadow, {verdict}: {_acts(shadow)}"


def _acts(shadow: ShadowDecision) -> str:
    acting: Sequence[SlotDecision] = [slot for slot in shadow.slots if slot.action != "WAIT"]
    return "; ".join(map(_act, acting or shadow.slots[:1])) or "WAIT"


def _act(slot: SlotDecision) -> str:
    about = "" if slot.seed_id is None or slot.action == "WAIT" else f" of {slot.seed_id}"
    return f"{slot.action}{about} ({slot.reason})"
