"""A large archive: as many stored decisions as asked for, in a million runs where there are ten million.

The rows are those that the service stored of a few pretended trainings, repeated over many runs with ids,
times and owners of their own, in the order in which thousands of trainings side by side would have written
them. Nineteen of twenty runs ended after four reports; the others were trained to the end; one goes on for
ever. One run was decided by another policy, belongs to a project of its own and is on hold. Moments told
inside replies are those of the templates: lists do not look there, the explanation of a decision would.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tamiyo_service.store import prepare_database
from tamiyo_service.store.schema import journal

from bench.templates import LONG_ID, USUAL, USUAL_EPOCHS, usual_id, write_templates

CACHE: Final = Path(__file__).parent / ".cache"
RARE_ID: Final = "usual-0000000007"
RARE_LABEL: Final = "project:moonshot"
RARE_POLICY: Final = "learned"
_VERSION: Final = 1
"""Raised when the archive's content changes: older ones are built anew."""
_FIRST_MOMENT: Final = 1_767_225_600_000_000
"""2026-01-01, UTC."""
_MICROS_BETWEEN: Final = 50_000
_SHORT_EPOCHS: Final = 4
_SHORT_SHARE: Final = 0.38
_COHORT: Final = 2_000
"""Trainings side by side."""
_STEPS: Final = USUAL_EPOCHS + 4
"""Each advances every training of a cohort by one input; the last are ends and rewinds."""
_TEXTS: Final = frozenset({"events", "payload", "reply", "state"})
"""Columns that hold the run's id somewhere."""
_COLUMNS: Final = [column.name for column in journal.columns if column.name != "id"]


@dataclass(frozen=True)
class Plan:
    """How many runs of each kind make an archive.

    Attributes:
        decisions: in all, about.
    """

    decisions: int

    @property
    def long_epochs(self) -> int:
        """Decisions of the long run."""
        return min(20_000, self.decisions // 100)

    @property
    def short_runs(self) -> int:
        """Runs of four reports."""
        return int(self.decisions * _SHORT_SHARE) // _SHORT_EPOCHS

    @property
    def usual_runs(self) -> int:
        """Runs trained to the end."""
        rest = self.decisions - self.long_epochs - self.short_runs * _SHORT_EPOCHS
        return max(rest // USUAL_EPOCHS, 8)

    @property
    def cohorts(self) -> int:
        """Groups of runs that follow each other."""
        return -(-self.usual_runs // _COHORT)


def archive(decisions: int) -> Path:
    """The archive of that size, built if it is not there yet (ten million take some ten minutes)."""
    CACHE.mkdir(exist_ok=True)
    file = CACHE / f"history-{decisions}-{_VERSION}.db"
    if not file.exists():
        began = time.monotonic()
        partial = file.with_suffix(".partial.db")
        for leftover in CACHE.glob(f"{partial.name}*"):
            leftover.unlink()
        build(partial, Plan(decisions))
        partial.rename(file)
        print(f"archive of {decisions} decisions built in {time.monotonic() - began:.0f} s", flush=True)
    return file


def build(file: Path, plan: Plan) -> None:
    """Write an archive into a new SQLite file."""
    prepare_database(f"sqlite:///{file}")
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        templates = Path(folder) / "templates.db"
        write_templates(templates, plan.long_epochs)
        connection = sqlite3.connect(file, isolation_level=None)
        try:
            _Builder(connection, templates, plan).build()
        finally:
            connection.close()
    _settle(file)


def _settle(file: Path) -> None:
    """Bring everything to the disk before it is measured."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


class _Builder:
    def __init__(self, connection: sqlite3.Connection, templates: Path, plan: Plan) -> None:
        self._execute = connection.execute
        self._plan = plan
        self._moment = _FIRST_MOMENT
        self._long_seq = 0
        self._runs = 0
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1500000", "foreign_keys=OFF"):
            self._execute(f"PRAGMA {pragma}")
        self._execute("ATTACH ? AS source", (str(templates),))
        self._execute(
            "CREATE TEMP TABLE cohort"
            " (kind TEXT, place INTEGER, run_pk INTEGER, run_id TEXT, template INTEGER)"
        )
        self._execute("CREATE INDEX temp.places ON cohort (kind, place)")

    def build(self) -> None:
        self._long_run()
        for cohort in range(self._plan.cohorts):
            self._execute("BEGIN")
            self._gather(cohort)
            for step in range(1, _STEPS + 1):
                self._advance("usual", 0, step)
                if step <= USUAL_EPOCHS:
                    group, seq = divmod(step - 1, _SHORT_EPOCHS)
                    self._advance("short", group, seq + 1)
                self._advance_long((cohort * _STEPS + step) / (self._plan.cohorts * _STEPS))
            self._outcomes()
            self._execute("COMMIT")
        self._rarity()
        self._execute("DETACH source")
        self._execute("PRAGMA journal_mode=WAL")

    def _long_run(self) -> None:
        self._runs += 1
        self._create(self._runs, LONG_ID, LONG_ID)

    def _gather(self, cohort: int) -> None:
        """Create the runs of the next cohort."""
        self._execute("DELETE FROM cohort")
        groups = USUAL_EPOCHS // _SHORT_EPOCHS
        for kind, total, places in (
            ("usual", self._plan.usual_runs, 1),
            ("short", self._plan.short_runs, groups),
        ):
            for number in _share(total, cohort, self._plan.cohorts):
                self._runs += 1
                template, run_id = number % USUAL, f"{kind}-{number:010d}"
                self._execute(
                    "INSERT INTO cohort VALUES (?, ?, ?, ?, ?)",
                    (kind, number % places, self._runs, run_id, template),
                )
                self._create(self._runs, run_id, usual_id(template), ends=kind == "usual")

    def _create(self, run_pk: int, run_id: str, template_id: str, *, ends: bool = False) -> None:
        self._moment += 1
        self._execute(
            "INSERT INTO runs SELECT ?, ?, config, rules_version, policy, ?,"
            " CASE ? WHEN 1 THEN status ELSE 'ACTIVE' END, CASE ? WHEN 1 THEN result END, chosen"
            " FROM source.runs WHERE run_id = ?",
            (run_pk, run_id, self._moment, ends, ends, template_id),
        )
        self._execute(
            "INSERT INTO run_labels SELECT ?, key, value FROM source.run_labels NATURAL JOIN source.runs"
            " WHERE run_id = ?",
            (run_pk, template_id),
        )

    def _advance(self, kind: str, place: int, seq: int) -> None:
        """The next input of every run of a kind."""
        self._insert(
            "FROM cohort AS c CROSS JOIN source.journal AS t ON t.run_pk = c.template + 1 AND t.seq = :seq"
            " CROSS JOIN source.runs AS r ON r.run_pk = t.run_pk WHERE c.kind = :kind AND c.place = :place",
            {"kind": kind, "place": place, "seq": seq},
        )

    def _advance_long(self, share: float) -> None:
        """The long run's inputs up to a share of them."""
        upto = int(share * self._plan.long_epochs)
        self._insert(
            "FROM (SELECT 1 AS run_pk, :run_id AS run_id) AS c"
            " CROSS JOIN source.runs AS r ON r.run_id = :run_id"
            " CROSS JOIN source.journal AS t ON t.run_pk = r.run_pk AND t.seq > :after AND t.seq <= :upto",
            {"run_id": LONG_ID, "after": self._long_seq, "upto": upto},
        )
        self._long_seq = upto

    def _insert(self, source: str, values: dict[str, object]) -> None:
        chosen = ", ".join(_chosen(name) for name in _COLUMNS)
        statement = f"INSERT INTO journal ({', '.join(_COLUMNS)}) SELECT {chosen} {source}"
        done = self._execute(statement, {**values, "moment": self._moment, "between": _MICROS_BETWEEN})
        self._moment += done.rowcount * _MICROS_BETWEEN

    def _outcomes(self) -> None:
        self._execute(
            "INSERT INTO command_outcomes (run_pk, attempt, epoch, command_id, status, known_epoch, detail)"
            " SELECT c.run_pk, o.attempt, o.epoch, replace(o.command_id, r.run_id, c.run_id), o.status,"
            " o.known_epoch, o.detail FROM cohort AS c CROSS JOIN source.command_outcomes AS o"
            " ON o.run_pk = c.template + 1 CROSS JOIN source.runs AS r ON r.run_pk = o.run_pk"
            " WHERE c.kind = 'usual'"
        )

    def _rarity(self) -> None:
        """What a filter has to find among everything else."""
        key, _, value = RARE_LABEL.partition(":")
        (run_pk,) = self._execute("SELECT run_pk FROM runs WHERE run_id = ?", (RARE_ID,)).fetchone()
        self._execute("UPDATE runs SET policy = ?, status = 'HELD' WHERE run_pk = ?", (RARE_POLICY, run_pk))
        self._execute("UPDATE journal SET policy = ? WHERE run_pk = ?", (RARE_POLICY, run_pk))
        self._execute("INSERT INTO run_labels VALUES (?, ?, ?)", (run_pk, key, value))


def _chosen(column: str) -> str:
    if column == "run_pk":
        return "c.run_pk"
    if column == "at":
        return ":moment + :between * row_number() OVER ()"
    return f"replace(t.{column}, r.run_id, c.run_id)" if column in _TEXTS else f"t.{column}"


def _share(total: int, part: int, parts: int) -> Iterator[int]:
    return iter(range(total * part // parts, total * (part + 1) // parts))
