"""Settings of the service, read from the environment (prefix ``TAMIYO_``) or given as arguments."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict
from tamiyo_leyline import PolicyChoice

from tamiyo_service.auth.limits import parse_rate
from tamiyo_service.retention.durations import Duration

PREFIX: Final = "TAMIYO_"
_DEVICE: Final = re.compile(r"auto|cpu|cuda(:\d{1,3})?", re.ASCII)
_OF_OTHERS: Final = frozenset(
    f"TAMIYO_{name}"
    for name in ("URL", "API_KEY", "IMAGE", "CUDA_IMAGE", "TRAINER_IMAGE", "TARGET", "SECRETS")
)
"""Variables that the client and the container files read."""


def _named(path: str | Path) -> str | Path:
    if path == "":
        raise ValueError("name a file or folder, or leave it unset")
    return path


def shadow_choices(text: str) -> tuple[PolicyChoice, ...]:
    """The policies that a list such as ``learned,heuristic,learned@imitation-cnn-1.0.0`` names.

    Raises:
        ValueError: if it is no such list.
    """
    choices: list[PolicyChoice] = []
    for part in text.split(","):
        name, _, version = part.strip().partition("@")
        try:
            choices.append(PolicyChoice(name=name, version=version or None))
        except ValidationError as error:
            raise ValueError(f"{part.strip()!r} is no policy: write NAME or NAME@VERSION") from error
    if len(set(choices)) < len(choices):
        raise ValueError("a policy is named twice")
    return tuple(choices)


def _choices(text: str) -> str:
    shadow_choices(text)
    return text


def _device(text: str) -> str:
    if not _DEVICE.fullmatch(text):
        raise ValueError("must be auto, cpu, cuda or cuda:N, such as cuda:0")
    return text


def _rate(text: str) -> str:
    parse_rate(text)
    return text


def _proxies(text: str) -> str:
    for part in text.split(","):
        try:
            network = ipaddress.ip_network(part.strip())
        except ValueError as error:
            raise ValueError(
                f"{part.strip()!r} is no address or network, such as 10.0.0.7 or 10.0.0.0/24"
            ) from error
        if network.prefixlen == 0:
            raise ValueError(f"{part.strip()} is everybody, who could then say to be anybody; name the proxy")
    return text


def _secret(file: Path) -> Path:
    try:
        empty = not file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise ValueError(f"cannot be read: {error}") from error
    if empty:
        raise ValueError("is empty")
    return file


def _with_password(url: str, given: ValidationInfo) -> str:
    """The URL of a database with a password, with that of the file."""
    file: Path | None = given.data.get("database_password_file")
    if file is None or not url.startswith("postgresql"):
        return url
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(url)
    except ArgumentError:
        return url  # whoever opens it says what is wrong with it
    password = file.read_text(encoding="utf-8").strip()
    return parts.set(password=password).render_as_string(hide_password=False)


class Settings(BaseSettings):
    """Everything an operator may choose; immutable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    database_password_file: Annotated[Path, BeforeValidator(_named), AfterValidator(_secret)] | None = Field(
        None,
        description="File with the password of a PostgreSQL database, such as a secret of the container's; "
        "it wins over one in `database_url`.",
    )
    database_url: Annotated[str, AfterValidator(_with_password)] = Field(
        "sqlite:///tamiyo.db",
        description="Where runs and decisions are kept, as an SQLAlchemy URL; a relative SQLite path starts "
        "at the working directory.",
    )
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Beyond loopback callers need keys, unless `auth` is `off`.",
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8000, description="Port to listen on; 0 picks a free one."
    )
    auth: Literal["required", "off"] | None = Field(
        None, description="Whether callers need keys; unset: only where the service listens beyond loopback."
    )
    metrics_open: bool = Field(
        False, description="Whether everybody may read /metrics where keys are required."
    )
    rate_limit_key: Annotated[str, AfterValidator(_rate)] | None = Field(
        None, description="Requests a second that each key may send to one process, such as 50 or 50/500."
    )
    rate_limit_run: Annotated[str, AfterValidator(_rate)] | None = Field(
        None, description="Requests a second about each run that one process takes, such as 5 or 5/50."
    )
    tls_certfile: Annotated[Path, BeforeValidator(_named)] | None = Field(
        None, description="Certificate chain, PEM: the service then speaks HTTPS and nothing else."
    )
    tls_keyfile: Annotated[Path, BeforeValidator(_named)] | None = Field(
        None, description="The certificate's private key, PEM; unset: it is in the same file."
    )
    trusted_proxies: Annotated[str, AfterValidator(_proxies)] | None = Field(
        None,
        description="Addresses or networks of proxies that are believed what X-Forwarded-For and -Proto say.",
    )
    auto_create: bool = Field(
        True, description="Whether a report of an unknown run creates it with the default configuration."
    )
    default_policy: Literal["heuristic", "learned"] = Field(
        "heuristic", description="The policy of runs that are created without naming one."
    )
    models: Annotated[Path, BeforeValidator(_named)] | None = Field(
        None,
        description="Folder of the learned policy's artifacts, NAME/VERSION/manifest.json; those that Tamiyo "
        "brings are known besides.",
    )
    device: Annotated[str, AfterValidator(_device)] = Field(
        "auto", description="Where networks run: cpu, cuda, cuda:N, or auto, a GPU if there is one."
    )
    model_deadline: Annotated[float, Field(gt=0)] = Field(
        1.0,
        description="How many seconds a decision waits for the network; then the heuristic makes it.",
    )
    model_queue: Annotated[int, Field(ge=1)] = Field(
        8192,
        description="Questions that may wait for the network; beyond it the heuristic decides.",
    )
    shadow: Annotated[str, AfterValidator(_choices)] | None = Field(
        None,
        description="Policies that decide about every run too, after the reply and without effect: names, "
        "each with @VERSION where it is to be pinned, separated by commas.",
    )
    cached_runs: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Runs kept in memory; the others are read again on their next report."
    )
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        1,
        description="Processes that serve on one port, all on one database; one that dies is started again.",
    )
    connections: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Connections that may be open to one process; one more gets 503 overloaded."
    )
    head_seconds: Annotated[float, Field(gt=0)] = Field(
        30.0,
        description="How long a request's headers may take to arrive; then the connection is closed.",
    )
    write_queue: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Inputs that may wait for the disk; beyond it requests get 503 overloaded."
    )
    swift_writes: bool = Field(
        True,
        description="Whether small writes to SQLite on a quick disk are made without the writer's thread.",
    )
    subscribers: Annotated[int, Field(ge=1)] = Field(
        256, description="Live streams that may be open in one process; one more gets 503 overloaded."
    )
    stall_seconds: Annotated[float, Field(gt=0)] = Field(
        5.0, description="How long a write may take before /readyz answers 503."
    )
    body_seconds: Annotated[float, Field(gt=0)] = Field(
        30.0, description="How long the body of a request may take to arrive; then it gets 503 overloaded."
    )
    shutdown_seconds: Annotated[int, Field(ge=1)] = Field(
        5, description="How long a stopping service waits for requests it has accepted."
    )
    keep_alive_seconds: Annotated[int, Field(ge=1)] = Field(
        75, description="How long an idle connection stays open."
    )
    retention: Duration | None = Field(
        None, description="How long completed runs are kept, such as 90d; unset: for ever."
    )
    retention_silent: Duration | None = Field(
        None, description="How long runs that are not completed are kept once nothing reaches them any more."
    )
    archive: Annotated[Path, BeforeValidator(_named)] | None = Field(
        None,
        description="Folder to which runs go, as Parquet files, before they are deleted; unset: nowhere.",
    )
    sweep_seconds: Annotated[float, Field(gt=0)] = Field(
        3600.0, description="How often the service looks for runs it need not keep."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log entry written to standard error."
    )
    log_decisions: bool = Field(
        False, description="Whether every decision is an entry of the log, at level info."
    )
    traces: bool | None = Field(
        None,
        description="Whether OpenTelemetry traces are sent; unset: if OTEL_ variables name a place for them.",
    )

    @model_validator(mode="after")
    def _has_certificate(self) -> Settings:
        if self.tls_keyfile is not None and self.tls_certfile is None:
            raise ValueError("TAMIYO_TLS_KEYFILE is of no use without TAMIYO_TLS_CERTFILE")
        return self

    @property
    def keys_required(self) -> bool:
        """Whether callers need keys: where others reach the service, by themselves or through a proxy."""
        if self.auth is not None:
            return self.auth == "required"
        return not is_loopback(self.host) or self.trusted_proxies is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment variables that give these settings, except those left at their defaults."""
    given = settings.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return {
        PREFIX + name.upper(): value if isinstance(value, str) else json.dumps(value)
        for name, value in given.items()
    }


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Variables that look like settings and are none, each with the setting it may be meant for.

    Args:
        environment: variables by name; case makes no difference, as with settings.
    """
    known = [name.upper() for name in Settings.model_fields]
    unknown: dict[str, str | None] = {}
    for variable in sorted(environment):
        name = variable.upper().removeprefix(PREFIX)
        if not variable.upper().startswith(PREFIX) or name in known or PREFIX + name in _OF_OTHERS:
            continue
        meant = get_close_matches(name, known, 1)
        unknown[variable] = PREFIX + meant[0] if meant else None
    return unknown
