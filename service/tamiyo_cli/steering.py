"""``tamiyo hold``, ``release``, ``note`` and ``label``: what operators do to runs."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from tamiyo_leyline.api import NoteView, Page, RunView

from tamiyo_cli.options import DEFAULT_URL, AsJson, By, Limit, RunId, Url
from tamiyo_cli.remote import Remote, Some, of_run, tell_more, told_in_a_line
from tamiyo_cli.terminal import harmless

app: Final = typer.Typer()

Reason = Annotated[str, typer.Option(help="Why.")]


@app.command()
def hold(
    run_id: RunId,
    reason: Annotated[str, typer.Option(help="Why; shown with every WAIT until the run is released.")],
    by: By = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Let a run only wait until it is released."""
    with told_in_a_line("hold"), Remote(url) as remote:
        view = remote.read(RunView, "PUT", of_run(run_id, "/hold"), json={"reason": reason, "by": by})
    _tell(view, as_json=as_json)


@app.command()
def release(
    run_id: RunId,
    reason: Annotated[str | None, typer.Option(help="Why; kept as a note of the run.")] = None,
    by: By = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Release a run from its hold; who did it and why is kept as a note."""
    with told_in_a_line("release"), Remote(url) as remote:
        # First the deed: a note of what was refused would not be true.
        view = remote.read(RunView, "DELETE", of_run(run_id, "/hold"))
        if reason is not None or by is not None:
            text = "released" if reason is None else f"released: {reason}"
            remote.call("POST", of_run(run_id, "/notes"), json={"text": text, "by": by})
    _tell(view, as_json=as_json)


@app.command()
def note(
    run_id: RunId,
    text: Annotated[str | None, typer.Argument(help="The note; without it the notes are listed.")] = None,
    by: By = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Add a note to a run, or list its notes, the latest first."""
    with told_in_a_line("note"), Remote(url) as remote:
        path = of_run(run_id, "/notes")
        if text is None:
            notes = remote.some(Page[NoteView], path, limit=limit)
        else:
            notes = Some([remote.read(NoteView, "POST", path, json={"text": text, "by": by})], more=False)
    for one in notes.items:
        typer.echo(one.model_dump_json() if as_json else harmless(_line(one)))
    if not (notes.items or as_json):
        typer.echo(f"no notes of {run_id} yet")
    tell_more(notes, limit)


@app.command()
def label(
    run_id: RunId,
    labels: Annotated[
        list[str] | None, typer.Argument(help="KEY=VALUE sets a label; without any they are listed.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(help="Key of a label to take away (repeatable).")
    ] = None,
    by: By = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Set, take away or list the labels of a run; the others stay."""
    changes = dict(map(_pair, labels or ()))
    with told_in_a_line("label"), Remote(url) as remote:
        view = remote.read(RunView, "GET", of_run(run_id))
        if changes or remove:
            kept = {key: value for key, value in view.labels.items() if key not in set(remove or ())}
            body = {"labels": kept | changes, "by": by}
            view = remote.read(RunView, "PUT", of_run(run_id, "/labels"), json=body)
    if as_json:
        typer.echo(view.model_dump_json())
        return
    for key, value in sorted(view.labels.items()):
        typer.echo(harmless(f"{key}={value}"))
    if not view.labels:
        typer.echo(f"{run_id} has no labels")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"{text!r} is no KEY=VALUE", param_hint="LABELS")
    return key, value


def _line(one: NoteView) -> str:
    where = f"attempt {one.attempt}, " if one.attempt else ""
    epoch = "before the first report" if one.last_epoch is None else f"epoch {one.last_epoch}"
    by = "" if one.by is None else f" {one.by}:"
    return f"{one.at.isoformat(timespec='seconds')} ({where}{epoch}){by} {one.text}"


def _tell(view: RunView, *, as_json: bool) -> None:
    typer.echo(view.model_dump_json() if as_json else f"{view.run_id}: {view.status.value}")
