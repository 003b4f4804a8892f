"""``tamiyo serve``."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from pydantic import ValidationError


def serve_until_stopped(
    *, host: str | None, port: int | None, workers: int | None, database_url: str | None
) -> None:
    """Run the service with settings from the environment, arguments first, until it is told to stop.

    Raises:
        typer.Exit: with status 2, after saying what is wrong, if the settings cannot be used; with
            status 1 if nothing can listen where they say.
    """
    with _no_collection():
        _serve({"host": host, "port": port, "workers": workers, "database_url": database_url})


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection while modules load: they leave little, and looking for it takes a tenth as long.

    The service turns it on once it has started.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _serve(options: dict[str, Any]) -> None:
    from tamiyo_service.listening import ListenError
    from tamiyo_service.observability.tracing import TracingError
    from tamiyo_service.retention.archive import ArchiveError
    from tamiyo_service.serve import CertificateError, serve
    from tamiyo_service.settings import Settings
    from tamiyo_service.store.dialect import DatabaseUnusableError, DatabaseUrlError

    from tamiyo_cli.environment import refused

    given = {name: value for name, value in options.items() if value is not None}
    try:
        serve(Settings(**given))
    except ValidationError as error:
        raise refused("serve", error, given) from error
    except (CertificateError, ArchiveError, DatabaseUrlError, DatabaseUnusableError, TracingError) as error:
        typer.echo(f"tamiyo serve: {error}", err=True)
        raise typer.Exit(2) from error
    except ListenError as error:
        typer.echo(f"tamiyo serve: {error}", err=True)
        raise typer.Exit(1) from error
