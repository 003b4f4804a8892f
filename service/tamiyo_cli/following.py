"""``tamiyo follow``: what happens, as it happens."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import httpx
import typer
from tamiyo_leyline.api import LiveEvent

from tamiyo_cli.remote import Pause, RefusedError, Remote, of_run, told_in_a_line
from tamiyo_cli.sse import Event, events
from tamiyo_cli.terminal import harmless

_SILENCE_SECONDS: Final = 45.0
"""The service tells every 15 seconds that the stream lives."""
_RETRY_SECONDS: Final = 2.0
_OF_THE_STREAM: Final = frozenset({"skipped", "dropped", "closing"})
_GONE: Final = "gone"
_TOLD: Final = (
    *("action", "target_seed_id", "status", "reason", "text", "result"),
    *("seed_id", "blueprint_id", "command_type", "message", "detail"),
)
"""What of an event is worth a line, in this order."""


def follow_events(
    url: str, run_id: str | None, *, parameters: Mapping[str, Any], limit: int | None, as_json: bool
) -> None:
    """Tell events until the run is deleted, the limit is reached or the user has enough (Ctrl-C)."""
    count = 0
    with (
        told_in_a_line("follow"),
        suppress(KeyboardInterrupt),
        Remote(url, read_seconds=_SILENCE_SECONDS) as remote,
    ):
        path = "/events" if run_id is None else of_run(run_id, "/events")
        for event in followed(remote, path, parameters):
            if event.type in _OF_THE_STREAM:
                typer.echo(f"tamiyo follow: {harmless(_reason(event))}", err=True)
                continue
            if event.type == _GONE:
                raise RefusedError(_reason(event))
            typer.echo(event.data if as_json else harmless(line(LiveEvent.model_validate_json(event.data))))
            count += 1
            if count == limit:
                return


def followed(
    remote: Remote, path: str, parameters: Mapping[str, Any], pause: Pause = time.sleep
) -> Generator[Event, None, None]:
    """The events of a stream that is taken up again where it broke off, as often as it does.

    Args:
        remote: the service.
        path: of the stream.
        parameters: filters, and where to begin.
        pause: waits for a number of seconds.

    Raises:
        RefusedError: if the service refuses; the first time also httpx.HTTPError, if it is not there.
    """
    last_id, retry, connected = "", _RETRY_SECONDS, False
    while True:
        headers = {"last-event-id": last_id} if last_id else {}
        try:
            with remote.stream(path, params=parameters, headers=headers) as response:
                connected = True
                for event in events(response.iter_lines(), last_id):
                    last_id = event.id
                    retry = retry if event.retry_seconds is None else event.retry_seconds
                    if event.type:
                        yield event
        except httpx.HTTPError:
            if not connected:
                raise
        pause(retry)


def line(event: LiveEvent) -> str:
    """An event for people."""
    where = "" if event.epoch is None else f" epoch {event.epoch}"
    at = event.at.isoformat(timespec="milliseconds")
    return f"{at} {event.run_id}{where}: {event.type} {_gist(event)}".rstrip()


def _gist(event: LiveEvent) -> str:
    commands: Sequence[Mapping[str, Any]] = event.data.get("commands") or ()
    if event.type == "decision":
        reasons = "; ".join(str(command.get("reason", "")) for command in commands)
        return f"{event.data.get('action', '')} ({reasons})"
    if event.type == "rewind":
        return f"to {_place(event.data)}, attempt {event.attempt}"
    told = (*_named(event.data), *(str(event.data[name]) for name in _TOLD if event.data.get(name)))
    by = event.data.get("by")
    return ", ".join(told if by is None else (*told, f"by {by}"))


def _place(rewind: Mapping[str, Any]) -> str:
    """Where a rewind went: the last epoch that the trainer still has."""
    return "the beginning" if rewind.get("to_epoch") is None else f"epoch {rewind['to_epoch']}"


def _named(data: Mapping[str, Any]) -> Iterator[str]:
    """A policy with its version, labels with their values."""
    policy: Mapping[str, Any] = data.get("policy") or {}
    if policy:
        yield " ".join(str(policy[name]) for name in ("name", "version") if policy.get(name))
    labels: Mapping[str, Any] | None = data.get("labels")
    if labels is not None:
        yield ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "none"


def _reason(event: Event) -> str:
    return str(json.loads(event.data).get("reason", event.type))
