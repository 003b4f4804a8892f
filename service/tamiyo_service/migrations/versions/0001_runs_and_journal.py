"""Runs, their journal, outcomes of commands, client decisions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _create_runs()
    _create_journal()
    _create_outcomes()
    _create_client_decisions()


def downgrade() -> None:
    for table in ("client_decisions", "command_outcomes", "journal", "run_labels", "runs"):
        op.drop_table(table)


def _run_pk(*, primary_key: bool = False) -> sa.Column[int]:
    reference = sa.ForeignKey("runs.run_pk", ondelete="CASCADE")
    return sa.Column("run_pk", _KEY, reference, nullable=False, primary_key=primary_key)


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run_pk", _KEY, primary_key=True),
        sa.Column("run_id", _NAME, nullable=False, unique=True),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("rules_version", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("result", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "run_labels",
        _run_pk(primary_key=True),
        sa.Column("key", _NAME, primary_key=True),
        sa.Column("value", _NAME, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # PostgreSQL's indices hold no long texts.
        head = sa.text("substr(value, 1, 250)")
        op.create_index("ix_run_labels_head", "run_labels", ["key", head, "run_pk"])
    else:
        op.create_index("ix_run_labels_value", "run_labels", ["key", "value", "run_pk"])


def _create_journal() -> None:
    op.create_table(
        "journal",
        sa.Column("id", _KEY, primary_key=True),
        _run_pk(),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("action", _NAME),
        sa.Column("risk", sa.SmallInteger),
        sa.Column("policy", sa.Text),
        sa.Column("backfill", sa.Boolean, nullable=False),
        sa.Column("hold", sa.Text),
        sa.Column("warnings", sa.Text),
        sa.Column("events", sa.Text),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("reply", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.UniqueConstraint("run_pk", "seq", name="uq_journal_seq"),
        sa.UniqueConstraint("run_pk", "epoch", "attempt", name="uq_journal_epoch"),
        sqlite_autoincrement=True,
    )
    _create_partial_index("ix_journal_rewinds", ["run_pk"], "kind = 'rewind'")
    _create_partial_index("ix_journal_actions", ["action", "id"], "action != 'WAIT'")


def _create_partial_index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "journal", columns, sqlite_where=where, postgresql_where=where)


def _create_outcomes() -> None:
    op.create_table(
        "command_outcomes",
        sa.Column("id", _KEY, primary_key=True),
        _run_pk(),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("command_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("known_epoch", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("ix_command_outcomes_decision", "command_outcomes", ["run_pk", "attempt", "epoch"])


def _create_client_decisions() -> None:
    op.create_table(
        "client_decisions",
        sa.Column("id", _KEY, primary_key=True),
        _run_pk(),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.UniqueConstraint("run_pk", "attempt", "epoch", name="uq_client_decisions_epoch"),
    )
