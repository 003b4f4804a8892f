"""Checks of `tamiyo doctor` that concern this machine: settings, database, folders, disk, models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from tamiyo_service.auth.first_key import first_key
from tamiyo_service.clock import to_micros, utc_now
from tamiyo_service.learned.artifacts import Artifact, Library, Refused
from tamiyo_service.retention.archive import ArchiveError
from tamiyo_service.retention.opening import open_archive
from tamiyo_service.serve import CertificateError, require_certificate
from tamiyo_service.settings import Settings, unknown_variables
from tamiyo_service.store.dialect import Database, DatabaseUnusableError, DatabaseUrlError, database_at
from tamiyo_service.store.keys import usable_keys
from tamiyo_service.store.migrate import REVISION, is_file_missing, pending, schema_revision
from tamiyo_service.store.sqlite import SqliteDatabase

from tamiyo_cli.environment import faults
from tamiyo_cli.findings import Finding, failed, ok, skipped, warning

_GIB: Final = 2**30
_LOW_BYTES: Final = _GIB
_NO_BYTES: Final = 100 * 2**20


def settings_of(environment: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """The settings of the environment, if they can be used, and what is to be said of them."""
    found = []
    for variable, meant in unknown_variables(environment).items():
        remedy = f"did you mean {meant}?" if meant else "unset it; docs/settings.md lists what there is"
        found.append(warning("configuration", f"{variable} is no setting", remedy))
    try:
        settings = Settings()
        require_certificate(settings)
    except ValidationError as error:
        found += [
            failed("configuration", fault, "correct it; see docs/settings.md") for fault in faults(error)
        ]
        return None, found
    except CertificateError as error:
        remedy = "correct TAMIYO_TLS_CERTFILE and TAMIYO_TLS_KEYFILE"
        return settings, [*found, failed("configuration", str(error), remedy)]
    given = len(settings.model_fields_set)
    return settings, found or [
        ok("configuration", f"valid; {given} of {len(Settings.model_fields)} settings given")
    ]


def store_findings(url: str) -> Iterator[Finding]:
    """Whether the database can be used, what an upgrade would do, and whether there is room for it."""
    try:
        database = database_at(url)
    except DatabaseUrlError as error:
        yield failed("store", str(error), "set TAMIYO_DATABASE_URL, or give --database-url")
        return
    try:
        yield from _schema(database)
    except DatabaseUnusableError as error:
        what, _, remedy = str(error).rpartition("; ")
        yield failed("store", what, remedy)
    finally:
        database.dispose()
    if isinstance(database, SqliteDatabase):
        yield _room("disk", database.path.absolute().parent)


def key_findings(settings: Settings, url: str) -> Iterator[Finding]:
    """Whether anybody can call, where callers need keys."""
    if not settings.keys_required:
        yield skipped(
            "keys",
            "by the settings of this environment none are asked for: whoever reaches a service that is "
            "started with them may do everything",
        )
        return
    try:
        database = database_at(url)
    except DatabaseUrlError:
        return
    remedy = f"make one: {first_key(url)}"
    try:
        if schema_revision(database) != REVISION:
            yield warning("keys", "callers need keys, and the database is yet to be made or upgraded", remedy)
            return
        usable = usable_keys(database, to_micros(utc_now()))
    except DatabaseUnusableError:
        # What is wrong with the database was told.
        return
    finally:
        database.dispose()
    if usable:
        yield ok("keys", f"{usable} may be used")
    else:
        yield warning("keys", "callers need keys, and there is none that may be used", remedy)


def folder_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the folders that settings name can be used."""
    if settings.archive is None:
        yield skipped("archive", "none is set: expired runs would be deleted for good")
    else:
        yield _archive(settings.archive)
    if settings.models is None:
        yield skipped("models folder", "none is set: only the models that come with Tamiyo are known")
    elif not settings.models.is_dir() or not os.access(settings.models, os.R_OK | os.X_OK):
        yield failed(
            "models folder", f"{settings.models} is no folder that can be read", "create it, or give rights"
        )
    else:
        yield ok("models folder", f"{settings.models} can be read")


def model_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the models are sound, and whether they can run on the device."""
    library = Library(settings.models)
    found = library.look()
    for model in found:
        if isinstance(model, Refused):
            yield failed(
                "models", f"{model.name}/{model.version}: {model.reason}", "restore it, or remove its folder"
            )
    sound = [model for model in found if isinstance(model, Artifact)]
    if sound:
        yield ok(
            "models",
            f"{', '.join(model.policy_version for model in sound)}: files are as their manifests say",
        )
    yield _device(settings)


def _schema(database: Database) -> Iterator[Finding]:
    if is_file_missing(database):
        yield ok("store", f"{database.url.database} is not there yet: the service makes it")
        return
    revision = schema_revision(database, to_write=True)
    if revision is None:
        yield ok("store", f"empty: the service makes its tables (schema {REVISION})")
    elif revision == REVISION:
        yield ok("store", f"schema {revision}, which this version works with")
    elif revision > REVISION:
        what = f"schema {revision} was written by a newer Tamiyo; this one knows {REVISION}"
        yield failed("store", what, "use that version, or a copy from before")
    else:
        yield from _upgrade(revision)


def _upgrade(revision: str) -> Iterator[Finding]:
    """What the next start, or `tamiyo migrate`, will do."""
    yield warning(
        "store",
        f"schema {revision}: the next start upgrades it to {REVISION}; older services that run may go on, "
        "but none starts on it any more",
        "make a copy first: tamiyo backup FILE (PostgreSQL: pg_dump)",
    )
    for migration in pending(revision):
        yield ok("upgrade", f"{migration.revision}: {migration.what}")


def _room(check: str, folder: Path) -> Finding:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return failed(check, f"{folder} cannot be looked at: {error.strerror}", "create it, or give rights")
    told = f"{free / _GIB:.1f} GiB are free in {folder}"
    if free < _NO_BYTES:
        return failed(check, told, "free some: decisions are refused once it is full")
    if free < _LOW_BYTES:
        return warning(check, told, "free some, or let old runs go: docs/retention.md")
    return ok(check, told)


def _archive(folder: Path) -> Finding:
    try:
        open_archive(folder)
    except ArchiveError as error:
        return failed("archive", str(error), "give rights, or name another folder in TAMIYO_ARCHIVE")
    return _room("archive", folder)


def _device(settings: Settings) -> Finding:
    try:
        from tamiyo_models.devices import best_device, sees_gpu
    except ImportError as error:
        return _without_networks(settings, error)
    try:
        missing = settings.device.startswith("cuda") and not sees_gpu(settings.device)
        best = best_device()
    except ImportError as error:
        return _without_networks(settings, error)
    if missing:
        return failed(
            "device", f"TAMIYO_DEVICE is {settings.device}, and torch sees no such GPU", "set auto or cpu"
        )
    return ok("device", f"networks run on {best if settings.device == 'auto' else settings.device}")


def _without_networks(settings: Settings, error: ImportError) -> Finding:
    remedy = "pip install 'esper-tamiyo[models]'"
    if settings.default_policy == "learned":
        return failed(
            "device", f"the default policy is learned, and nothing here runs networks ({error})", remedy
        )
    return skipped("device", f"nothing here runs networks ({error}); for the learned policy: {remedy}")
