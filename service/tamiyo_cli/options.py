"""Options that several commands take."""

from __future__ import annotations

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
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
Actions = Annotated[
    list[str] | None,
    typer.Option(help="Only this action (repeatable): WAIT, GERMINATE, GERMINATE_NORM, FOSSILIZE, CULL."),
]
