"""``tamiyo override`` and ``policy``: what operators order of a run."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from tamiyo_leyline.api import RunView

from tamiyo_cli.options import DEFAULT_URL, AsJson, By, RunId, Url, chosen_policy
from tamiyo_cli.remote import Remote, given, of_run, told_in_a_line
from tamiyo_cli.terminal import harmless

app: Final = typer.Typer()


@app.command()
def override(
    run_id: RunId,
    action: Annotated[
        str | None,
        typer.Argument(help="WAIT, GERMINATE_NORM and so on, FOSSILIZE or CULL; none with --withdraw."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; shown with the command.")] = None,
    seed: Annotated[
        str | None, typer.Option(help="The seed  \\[default: the only live one; with WAIT all]")
    ] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take an order back that no report has taken yet.")
    ] = False,
    by: By = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Have the next report answered with this command, if it is legal then, whatever the policy decides."""
    if withdraw:
        if any(one is not None for one in (action, reason, seed, by)):
            raise typer.BadParameter("goes alone", param_hint="--withdraw")
        with told_in_a_line("override"), Remote(url) as remote:
            _tell(remote.read(RunView, "DELETE", of_run(run_id, "/override")), as_json=as_json)
        return
    if action is None or reason is None:
        raise typer.BadParameter("an order needs an ACTION and a --reason", param_hint="ACTION")
    body = given(action=action, target_seed_id=seed, reason=reason, by=by)
    with told_in_a_line("override"), Remote(url) as remote:
        _tell(remote.read(RunView, "POST", of_run(run_id, "/override"), json=body), as_json=as_json)


@app.command()
def policy(
    run_id: RunId,
    name: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The policy.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    by: By = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Let another policy decide about a run, from its next report on."""
    body = given(policy=chosen_policy(name, "NAME[@VERSION]"), reason=reason, by=by)
    with told_in_a_line("policy"), Remote(url) as remote:
        _tell(remote.read(RunView, "POST", of_run(run_id, "/policy"), json=body), as_json=as_json)


def _tell(view: RunView, *, as_json: bool) -> None:
    if as_json:
        typer.echo(view.model_dump_json())
        return
    order = view.override
    about = "" if order is None or order.target_seed_id is None else f" of {order.target_seed_id}"
    waiting = "no order waits" if order is None else f"{order.action}{about} waits for the next report"
    typer.echo(harmless(f"{view.run_id}: {view.policy.name} {view.policy.version} decides; {waiting}"))
