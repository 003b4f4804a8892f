"""Settings of the environment, for commands that work without a service."""

from __future__ import annotations

import typer
from pydantic import ValidationError
from tamiyo_leyline.validation import field_errors
from tamiyo_service.settings import PREFIX, Settings


def settings_for(command: str) -> Settings:
    """The settings.

    Raises:
        typer.Exit: with status 2, after saying what is wrong, if they cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        for fault in field_errors(error):
            typer.echo(f"tamiyo {command}: {PREFIX}{fault.field.upper()}: {fault.message}", err=True)
        raise typer.Exit(2) from error
