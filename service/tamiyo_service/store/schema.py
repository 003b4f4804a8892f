"""The tables, as SQLAlchemy Core sees them. Alembic's migrations create them.

Columns that lists read come first and long texts last: SQLite reads a row's head without its overflow pages.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

metadata: Final = MetaData()

KEY: Final = BigInteger().with_variant(Integer, "sqlite")
"""Type of generated keys: SQLite generates values only for INTEGER."""

NAME: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Type of names that are sorted and compared: by their bytes, whatever the server's language."""

runs: Final = Table(
    "runs",
    metadata,
    Column("run_pk", KEY, primary_key=True),
    Column("run_id", NAME, nullable=False, unique=True),
    Column("config", Text, nullable=False),
    Column("rules_version", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("result", Text),
    Column("chosen", Text),
    Index("ix_runs_status", "status", "run_pk"),
    Index("ix_runs_policy", "policy", "run_pk"),
    sqlite_autoincrement=True,
)
"""One row for each run, never touched by a report."""

run_labels: Final = Table(
    "run_labels",
    metadata,
    Column("run_pk", KEY, ForeignKey("runs.run_pk", ondelete="CASCADE"), primary_key=True),
    Column("key", NAME, primary_key=True),
    Column("value", NAME, nullable=False),
)

LABEL_HEAD: Final = 250
"""Characters of a label's value that PostgreSQL indexes: its indices hold no long texts."""

# On PostgreSQL the migration creates ix_run_labels_head instead, on the heads of the values.
Index("ix_run_labels_value", run_labels.c.key, run_labels.c.value, run_labels.c.run_pk).ddl_if(
    dialect="sqlite"
)

journal: Final = Table(
    "journal",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("run_pk", KEY, ForeignKey("runs.run_pk", ondelete="CASCADE"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("epoch", BigInteger),
    Column("at", BigInteger, nullable=False),
    Column("action", NAME),
    Column("risk", SmallInteger),
    Column("policy", Text),
    Column("backfill", Boolean, nullable=False),
    Column("hold", Text),
    Column("warnings", Text),
    Column("events", Text),
    Column("payload", Text, nullable=False),
    Column("reply", Text),
    Column("state", Text, nullable=False),
    Column("advice", Text),
    Column("override", Text),
    UniqueConstraint("run_pk", "seq", name="uq_journal_seq"),
    UniqueConstraint("run_pk", "epoch", "attempt", name="uq_journal_epoch"),
    sqlite_autoincrement=True,
)
"""Every numbered input of every run, only ever appended to."""


def _partial(name: str, condition: ColumnElement[bool], *columns: Column[Any]) -> None:
    """An index that leaves out the many rows nobody looks for: they cost no write."""
    Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


_partial("ix_journal_rewinds", journal.c.kind == "rewind", journal.c.run_pk)
_partial("ix_journal_moments", journal.c.epoch.is_not(None), journal.c.at, journal.c.id, journal.c.epoch)
_partial("ix_journal_policies", journal.c.policy != "heuristic", journal.c.policy, journal.c.at, journal.c.id)
_partial("ix_journal_actions", journal.c.action != "WAIT", journal.c.action, journal.c.at, journal.c.id)
_partial("ix_journal_acting", journal.c.action != "WAIT", journal.c.at, journal.c.id, journal.c.action)
_partial(
    "ix_journal_acting_runs", journal.c.action != "WAIT", journal.c.run_pk, journal.c.seq, journal.c.action
)
_partial("ix_journal_risks", journal.c.risk > 1, journal.c.risk, journal.c.at, journal.c.id)

command_outcomes: Final = Table(
    "command_outcomes",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("run_pk", KEY, ForeignKey("runs.run_pk", ondelete="CASCADE"), nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("command_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("known_epoch", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
    Column("known_attempt", BigInteger),
    Index("ix_command_outcomes_decision", "run_pk", "attempt", "epoch"),
)
"""What became of commands, by the decision that issued them."""

client_decisions: Final = Table(
    "client_decisions",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("run_pk", KEY, ForeignKey("runs.run_pk", ondelete="CASCADE"), nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("payload", Text, nullable=False),
    UniqueConstraint("run_pk", "attempt", "epoch", name="uq_client_decisions_epoch"),
)
"""What trainers did while the service was silent."""

activations: Final = Table(
    "activations",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("topology", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("version", NAME, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("previous", Text),
    Column("reason", Text, nullable=False),
    Index("ix_activations_topology", "topology", "id"),
    sqlite_autoincrement=True,
)
"""Which model a topology's new runs use from when on; the last one of a topology counts."""

model_versions: Final = Table(
    "model_versions",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("version", NAME, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)
"""What each version of a model was when it was first used: it is never anything else."""

shadow_decisions: Final = Table(
    "shadow_decisions",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("run_pk", KEY, ForeignKey("runs.run_pk", ondelete="CASCADE"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("policy", NAME, nullable=False),
    Column("version", NAME, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("agrees", Boolean, nullable=False),
    Column("action", NAME, nullable=False),
    Column("sha256", Text),
    Column("commands", Text, nullable=False),
    Column("slots", Text, nullable=False),
    Column("state", Text, nullable=False),
    UniqueConstraint("run_pk", "seq", "policy", "version", name="uq_shadow_decisions_decision"),
)
"""What other policies would have decided, by the report's number within its run."""

shadow_shares: Final = Table(
    "shadow_shares",
    metadata,
    Column("share", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("holder", Text),
    Column("held_until", BigInteger, nullable=False),
)
"""How far the shadow policies have come in the journal, one row for each share of the runs."""
