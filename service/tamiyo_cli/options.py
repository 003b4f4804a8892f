"""Options that several commands take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final

import typer

DEFAULT_URL: Final = "http://127.0.0.1:8000"
Url = Annotated[str, typer.Option(envvar="TAMIYO_URL", help="Where the service is.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="Where runs are kept  \\[default: TAMIYO_DATABASE_URL or sqlite:///tamiyo.db]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, one object a line.")]
RunId = Annotated[str, typer.Argument(help="The run.")]
By = Annotated[str | None, typer.Option(help="Who says so; kept with it.")]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000_000, help="How many at most.")]
Actions = Annotated[
    list[str] | None,
    typer.Option(help="Only this action (repeatable): WAIT, GERMINATE, GERMINATE_NORM, FOSSILIZE, CULL."),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="Only runs with this label, KEY=VALUE (repeatable: all must match)."),
]
SinceEpoch = Annotated[int | None, typer.Option(min=0, help="First epoch.")]
UntilEpoch = Annotated[int | None, typer.Option(min=0, help="Last epoch.")]

_SEPARATOR: Final = re.compile("[=:]")


def label_filters(labels: Sequence[str] | None) -> list[str]:
    """Labels as a service takes them, KEY:VALUE, of KEY=VALUE or KEY:VALUE.

    Raises:
        typer.BadParameter: if one is neither.
    """
    return list(map(_label_filter, labels or ()))


def _label_filter(label: str) -> str:
    parts = _SEPARATOR.split(label, maxsplit=1)
    if len(parts) < 2 or not parts[0]:
        raise typer.BadParameter(f"{label!r} is no KEY=VALUE", param_hint="--label")
    return ":".join(parts)


def chosen_policy(text: str, hint: str) -> dict[str, str]:
    """The policy that NAME or NAME@VERSION chooses, as a service takes it.

    Raises:
        typer.BadParameter: if name or version is empty; `hint` names what was mistyped.
    """
    name, at, version = text.partition("@")
    if not name or (at and not version):
        raise typer.BadParameter(f"{text!r} is no NAME or NAME@VERSION", param_hint=hint)
    return {"name": name} | ({"version": version} if version else {})
