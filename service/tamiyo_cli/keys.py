"""``tamiyo keys``: who may call the service. Works on the database, with or without services beside it."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from tamiyo_cli.options import AsJson, DatabaseUrl
from tamiyo_cli.terminal import harmless, plain

if TYPE_CHECKING:
    from tamiyo_service.store.keys import KeyRow, KeyStore

app: Final = typer.Typer(
    name="keys", help="Make, list and revoke the API keys of a service.", no_args_is_help=True
)

Answer = TypeVar("Answer")
_SCOPES: Final = ("trainer", "operator", "admin")


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Whose it is; the audit log and notes name it.")],
    scope: Annotated[str, typer.Option(help="What it is for: trainer, operator or admin.")],
    prefix: Annotated[
        list[str] | None, typer.Option(help="Only for runs whose ids begin so (repeatable).")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends, such as 90d  \\[default: when it is revoked]")
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once: the database keeps only its hash."""
    from tamiyo_service.auth.caller import Scope
    from tamiyo_service.auth.tokens import new_key

    if scope not in _SCOPES:
        raise typer.BadParameter(f"{scope!r} is none of {', '.join(_SCOPES)}", param_hint="--scope")
    now = datetime.now(UTC)
    try:
        made = new_key(name, Scope(scope), prefix or (), now, _end(now, expires))
    except ValueError as error:
        raise typer.BadParameter(harmless(str(error))) from error
    _with_keys("create", database_url, lambda keys: keys.add(made.row), may_make=True)
    _audit("key_created", made.row)
    typer.echo(json.dumps(_shown(made.row) | {"key": made.key}) if as_json else made.key)


@app.command("list")
def list_keys(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List the keys there are and were, the newest first; the keys themselves nobody knows any more."""
    rows: list[KeyRow] = _with_keys("list", database_url, lambda keys: keys.all())
    if as_json:
        for row in rows:
            typer.echo(json.dumps(_shown(row)))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("id", "name", "scope", "runs", "state", "created", "ends", "last used"):
        # An id is to be copied in one piece.
        table.add_column(column, overflow="fold", no_wrap=column == "id")
    for row in rows:
        told = _shown(row)
        moments = (told["created_at"], told["expires_at"], told["last_used_at"])
        runs = " ".join(f"{prefix}…" for prefix in row.prefixes) or "all"
        cells = (row.key_id, row.name, row.scope, runs, told["state"], *map(_minute, moments))
        table.add_row(*map(plain, cells))
    Console().print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `tamiyo keys list` shows it.")],
    reason: Annotated[str | None, typer.Option(help="Why; for the audit log.")] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let a key end, with the sessions that were begun with it: within five seconds, everywhere."""
    from tamiyo_service.clock import to_micros, utc_now

    now = to_micros(utc_now())
    row: KeyRow | None = _with_keys("revoke", database_url, lambda keys: keys.revoke(key_id, now))
    if row is None:
        typer.echo(f"tamiyo keys revoke: there is no key {harmless(key_id)}; see tamiyo keys list", err=True)
        raise typer.Exit(1)
    _audit("key_revoked", row, reason)
    typer.echo(json.dumps(_shown(row)) if as_json else f"{row.key_id}: revoked")


def _with_keys(
    command: str,
    database_url: str | None,
    work: Callable[[KeyStore], Awaitable[Answer]],
    *,
    may_make: bool = False,
) -> Answer:
    """What comes of work on the keys of a database.

    Args:
        command: that works on them.
        database_url: None: that of the settings.
        work: with the keys.
        may_make: whether a database that is not there is made, and that told.

    Raises:
        typer.Exit: with status 1, after saying why, if it cannot be done.
    """
    from tamiyo_service.errors import TamiyoError
    from tamiyo_service.store.dialect import DatabaseUnusableError, DatabaseUrlError
    from tamiyo_service.store.migrate import DatabaseAbsentError, require_current

    from tamiyo_cli.environment import settings_for

    command = f"keys {command}"
    url = settings_for(command).database_url if database_url is None else database_url
    try:
        try:
            require_current(url)
        except DatabaseAbsentError as error:
            if not may_make:
                raise
            typer.echo(f"tamiyo {command}: {harmless(error.finding)}; it is made now", err=True)
        return asyncio.run(_work(url, work))
    except (TamiyoError, DatabaseUrlError, DatabaseUnusableError) as error:
        typer.echo(f"tamiyo {command}: {harmless(str(error))}", err=True)
        raise typer.Exit(1) from error


async def _work(url: str, work: Callable[[KeyStore], Awaitable[Answer]]) -> Answer:
    from tamiyo_service.store import SqlStore

    store = SqlStore(url)
    await store.open()
    try:
        return await work(store.keys)
    finally:
        await store.close()


def _end(now: datetime, expires: str | None) -> datetime | None:
    from tamiyo_service.retention.durations import parse_duration

    return None if expires is None else now + parse_duration(expires)


def _shown(row: KeyRow) -> dict[str, Any]:
    """A key as it is listed: everything but the hash."""
    from tamiyo_service.clock import to_micros, utc_now

    ends_at, now = row.ends_at(), to_micros(utc_now())
    state = "live" if ends_at is None or ends_at > now else "expired"
    if row.revoked_at is not None:
        state = "revoked"
    return {
        "key_id": row.key_id,
        "name": row.name,
        "scope": row.scope,
        "prefixes": list(row.prefixes),
        "state": state,
        "created_at": _moment(row.created_at),
        "expires_at": _moment(row.expires_at),
        "revoked_at": _moment(row.revoked_at),
        "last_used_at": _moment(row.last_used_at),
    }


def _moment(micros: int | None) -> str | None:
    from tamiyo_service.clock import from_micros

    return None if micros is None else from_micros(micros).isoformat()


def _minute(moment: str | None) -> str:
    return "–" if moment is None else moment[:16].replace("T", " ")


def _audit(action: str, row: KeyRow, reason: str | None = None) -> None:
    from tamiyo_service.auth.audit import audit_local
    from tamiyo_service.logs import configure_logs

    configure_logs("info")
    about = {"key": row.key_id, "name": row.name, "scope": row.scope, "prefixes": row.prefixes}
    audit_local(action, _user(), reason=reason, **about)


def _user() -> str:
    """Who is at work here, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
