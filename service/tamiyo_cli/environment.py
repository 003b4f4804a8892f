"""Settings of the environment, for commands that need them; and what is wrong with them, in a line each."""

from __future__ import annotations

from collections.abc import Container, Iterator

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
        raise refused(command, error) from error


def refused(command: str, error: ValidationError, options: Container[str] = ()) -> typer.Exit:
    """The end of a command whose settings cannot be used, after saying why.

    Args:
        command: that was called.
        error: what is wrong with them.
        options: settings that were given as options of the command.
    """
    for fault in faults(error, options):
        typer.echo(f"tamiyo {command}: {fault}", err=True)
    return typer.Exit(2)


def faults(error: ValidationError, options: Container[str] = ()) -> Iterator[str]:
    """What is wrong with settings, each under the name it was given by: the variable's, or the option's."""
    for fault in field_errors(error):
        option = f"--{fault.field.replace('_', '-')}"
        name = option if fault.field in options else PREFIX + fault.field.upper()
        yield f"{name}: {fault.message}" if fault.field else fault.message
