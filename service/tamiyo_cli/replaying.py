"""``tamiyo replay``: what another policy, or other settings, would have done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from tamiyo_leyline.replay import Divergence, LoggedChoice, Replay, ReplayedChoice, ReplayItem, ReplaySlot

from tamiyo_cli.options import DEFAULT_URL, AsJson, RunId, Url, chosen_policy
from tamiyo_cli.remote import Remote, of_run, told_in_a_line
from tamiyo_cli.terminal import harmless, plain

app: Final = typer.Typer()

_READ_SECONDS: Final = 60.0
"""Others may be replaying, too."""
_SECTIONS: Final = ("heuristic", "learned", "tracker")
_DIFFERENT: Final = 3
"""Status where the two differ and the caller wants to know."""


@app.command()
def replay(
    run_id: RunId,
    policy: Annotated[
        str | None, typer.Option(help="Decides instead: NAME or NAME@VERSION  \\[default: the run's]")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.NAME=VALUE",
            help="Another setting (repeatable), such as heuristic.plateau_epochs_to_germinate=5 or "
            "heuristic.preset=report; values are JSON or plain words.",
        ),
    ] = None,
    attempt: Annotated[int | None, typer.Option(min=0, help="Whose history  \\[default: the last]")] = None,
    since_epoch: Annotated[int | None, typer.Option(min=0, help="First epoch to tell of.")] = None,
    until_epoch: Annotated[int | None, typer.Option(min=0, help="Last epoch.")] = None,
    only_divergences: Annotated[
        bool, typer.Option("--only-divergences", help="Only reports where the two differ.")
    ] = False,
    with_waits: Annotated[bool, typer.Option("--all", help="Also reports where both only wait.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with status 3 if the two differ.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Decide the reports of a run again, with another policy or other settings, side by side.

    What follows a structural divergence is open-loop: the trainer obeyed what the run decided.
    """
    if only_divergences and with_waits:
        raise typer.BadParameter("goes not with --only-divergences", param_hint="--all")
    items = "divergences" if only_divergences else "all" if with_waits else "acting"
    limits = {"attempt": attempt, "since_epoch": since_epoch, "until_epoch": until_epoch}
    body: dict[str, Any] = {"items": items} | _settings(settings or ())
    body |= {name: value for name, value in limits.items() if value is not None}
    if policy is not None:
        body["policy"] = chosen_policy(policy, "--policy")
    with told_in_a_line("replay"), Remote(url, read_seconds=_READ_SECONDS) as remote:
        answer = remote.read(Replay, "POST", of_run(run_id, "/replay"), json=body)
    if as_json:
        typer.echo(answer.model_dump_json())
    else:
        _tell(answer)
    if answer.failure is not None:
        typer.echo(f"tamiyo replay: {harmless(answer.failure)}", err=True)
        raise typer.Exit(1)
    if exit_code and answer.first_divergence is not None:
        raise typer.Exit(_DIFFERENT)


def _settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        section, dot, name = path.partition(".")
        if not (equals and dot and name):
            raise typer.BadParameter(f"{text!r} is no SECTION.NAME=VALUE", param_hint="--set")
        if section not in _SECTIONS:
            valid = ", ".join(_SECTIONS)
            raise typer.BadParameter(f"there is no section {section!r}; valid: {valid}", param_hint="--set")
        found.setdefault(section, {})[name] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:  # NaN, Infinity, 1e999: Python reads them, JSON has none of them
        raise typer.BadParameter(f"{text} is no value that a setting can have", param_hint="--set") from None
    return value


def _tell(answer: Replay) -> None:
    console = Console()
    console.print(plain(_title(answer)), style="bold")
    for line in _changes(answer):
        console.print(plain(line))
    if answer.items:
        console.print(_table(answer.items))
    for line in _summary(answer):
        console.print(plain(line), highlight=False)


def _title(answer: Replay) -> str:
    attempt = f", attempt {answer.attempt}" if answer.attempt else ""
    return f"{answer.run_id}{attempt}, replayed with {answer.policy.name} {answer.policy.version}"


def _changes(answer: Replay) -> Iterator[str]:
    for change in answer.changes:
        yield f"  {change.name}: {json.dumps(change.logged)} → {json.dumps(change.replayed)}"


def _table(items: Sequence[ReplayItem]) -> Table:
    table = Table()
    for column, wide in (("epoch", False), ("about", True), ("run", True), ("replay", True), ("", False)):
        table.add_column(column, overflow="fold", no_wrap=not wide)
    for item in items:
        for number, slot in enumerate(_shown(item)):
            first = _place(item) if number == 0 else ""
            row = (first, _about(slot), _choice(slot.logged), _choice(slot.replayed), _mark(item, slot))
            table.add_row(*map(plain, row), style="" if slot.agrees else "bold", end_section=False)
    return table


def _shown(item: ReplayItem) -> Sequence[ReplaySlot]:
    """The slots that tell something; a report where both only wait is told by its first."""
    acting = [slot for slot in item.slots if not slot.agrees or slot.replayed.action != "WAIT"]
    return acting or item.slots[:1]


def _place(item: ReplayItem) -> str:
    return f"{item.epoch} of {item.attempt}" if item.attempt else str(item.epoch)


def _about(slot: ReplaySlot) -> str:
    return slot.seed_id or "germination"


def _choice(choice: LoggedChoice | ReplayedChoice) -> str:
    return choice.action if choice.reason is None else f"{choice.action}: {choice.reason}"


def _mark(item: ReplayItem, slot: ReplaySlot) -> str:
    return ("=" if slot.agrees else "≠") + (" open-loop" if item.open_loop else "")


def _summary(answer: Replay) -> Iterator[str]:
    counts = answer.counts
    yield (
        f"{counts.agreeing} of {counts.reports} decisions agree{_percent(answer.agreement)}; "
        f"{counts.acting_agreeing} of {counts.acting} where either acted{_percent(answer.acting_agreement)}."
    )
    first, structural = answer.first_divergence, answer.structural_divergence
    if first is None:
        yield "They differ nowhere."
        return
    yield f"They differ first at {_told(first)}."
    if structural is None:
        yield "Nowhere would the trainer have been left with other seeds."
    elif counts.open_loop:
        yield (
            f"After epoch {structural.epoch} the trainer would have had other seeds: the {counts.open_loop} "
            "later decisions are open-loop, each made in a situation that the run's own decisions led to."
        )
    else:
        yield f"After epoch {structural.epoch} the trainer would have had other seeds; no report follows."


def _told(one: Divergence) -> str:
    slot = one.slot
    where = f"epoch {one.epoch}{f' of attempt {one.attempt}' if one.attempt else ''}, {_about(slot)}"
    return f"{where}: the run {_choice(slot.logged)}; the replay {_choice(slot.replayed)}"


def _percent(share: float | None) -> str:
    return "" if share is None else f" ({share:.1%})"
