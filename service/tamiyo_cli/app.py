"""Commands and options; what they do lives in one file each."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tamiyo_cli.options import AsJson, DatabaseUrl


class _Commands(TyperGroup):
    """The commands of this file at once, those of others when one of them is asked for.

    A service that starts waits for nothing that only talks to services.
    """

    # The classes of contexts and commands are Typer's own and private.
    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands."""
        self.commands.update(_others())
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name."""
        if cmd_name not in self.commands:
            self.commands.update(_others())
        return super().get_command(ctx, cmd_name)


def _others() -> dict[str, Any]:
    from tamiyo_cli import (
        doctor,
        explaining,
        history,
        keys,
        models,
        ordering,
        replaying,
        steering,
        watching,
    )

    together = typer.Typer()
    for part in (history, explaining, watching, replaying, steering, ordering, doctor, models, keys):
        together.add_typer(part.app)
    return dict(typer.main.get_group(together).commands)


app = typer.Typer(
    name="tamiyo",
    cls=_Commands,
    help="The decision service for neural networks that grow while they train.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class DemoPolicy(StrEnum):
    """Who decides in a demo."""

    HEURISTIC = "heuristic"
    LEARNED = "learned"


def _show_version(wanted: bool) -> None:
    if wanted:
        from tamiyo_leyline import LEYLINE_VERSION, __version__

        typer.echo(f"tamiyo {__version__} (leyline {LEYLINE_VERSION})")
        raise typer.Exit


@app.callback()
def tamiyo(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """The decision service for neural networks that grow while they train."""


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on  \\[default: TAMIYO_HOST or 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on  \\[default: TAMIYO_PORT or 8000]")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=256, help="Processes that serve on the port  \\[default: TAMIYO_WORKERS or 1]"
        ),
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Run the service until it is told to stop (SIGINT or SIGTERM). Settings: docs/settings.md."""
    from tamiyo_cli.serve import serve_until_stopped

    serve_until_stopped(host=host, port=port, workers=workers, database_url=database_url)


@app.command()
def demo(
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set (repeatable)  \\[default: all of them]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, batches and data split.")] = 0,
    database: Annotated[
        Path | None, typer.Option(help="New SQLite file for the history  \\[default: tamiyo-demo-TIME.db]")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the results to this file, as a JSON list.")
    ] = None,
    policy: Annotated[
        DemoPolicy, typer.Option(help="Decides for the growing networks.")
    ] = DemoPolicy.HEURISTIC,
    url: Annotated[
        str | None,
        typer.Option(envvar="TAMIYO_URL", help="A service to ask  \\[default: one of its own, for the demo]"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="The runs are NAME-DATASET-SEED  \\[default: demo; with --url demo-TIME]"),
    ] = None,
) -> None:
    """Train static and growing networks on real data, the growing ones asking a service every epoch."""
    from tamiyo_cli.demo import run_demo

    run_demo(
        datasets=tuple(dataset or ()),
        seed=seed,
        database=database,
        json_file=json_file,
        policy=policy,
        url=url,
        name=name,
    )


@app.command()
def prune(
    completed_for: Annotated[
        str | None,
        typer.Option(help="Completed runs that nothing has reached for this long, such as 90d."),
    ] = None,
    silent_for: Annotated[
        str | None,
        typer.Option(help="Other runs that nothing has reached for this long, held ones too."),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(help="Write them to Parquet files in this folder first  \\[default: TAMIYO_ARCHIVE]"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List them and change nothing.")] = False,
    vacuum: Annotated[
        bool,
        typer.Option("--vacuum", help="Then make an SQLite file smaller; nobody can write meanwhile."),
    ] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Delete runs that need not be kept; by default those that TAMIYO_RETENTION and _SILENT name.

    Services may use the database meanwhile. What is spared, and how an archive is read: docs/retention.md.
    """
    from tamiyo_cli.prune import prune_runs

    prune_runs(
        completed_for=completed_for,
        silent_for=silent_for,
        archive=archive,
        database_url=database_url,
        dry_run=dry_run,
        vacuum_after=vacuum,
        as_json=as_json,
    )


@app.command()
def migrate(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Make the database or bring it up to date, and end: what a service does when it starts.

    For deployments of several services: docs/deployment.md.
    """
    from tamiyo_cli.migrate import migrate_database

    migrate_database(database_url, as_json=as_json)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where the copy goes.")],
    database_url: DatabaseUrl = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a live SQLite database: every decision up to this moment, in one file that is checked."""
    from tamiyo_cli.backup import back_up_database

    back_up_database(file, database_url=database_url, overwrite=force, as_json=as_json)
