"""Indices for the lists: the history of all runs by moment, what acted, what was risky, runs by status."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REPORTS = "epoch IS NOT NULL"
_ACTING = "action != 'WAIT'"
_JOURNAL = {
    "ix_journal_moments": (["at", "id", "epoch"], _REPORTS),
    "ix_journal_policies": (["policy", "at", "id"], "policy != 'heuristic'"),
    "ix_journal_actions": (["action", "at", "id"], _ACTING),
    "ix_journal_acting": (["at", "id", "action"], _ACTING),
    "ix_journal_acting_runs": (["run_pk", "seq", "action"], _ACTING),
    "ix_journal_risks": (["risk", "at", "id"], "risk > 1"),
}
_RUNS = {"ix_runs_status": ["status", "run_pk"], "ix_runs_policy": ["policy", "run_pk"]}


def upgrade() -> None:
    op.drop_index("ix_journal_actions", "journal")
    for name, (columns, condition) in _JOURNAL.items():
        _create_partial_index(name, columns, condition)
    for name, columns in _RUNS.items():
        op.create_index(name, "runs", columns)


def downgrade() -> None:
    for name in _RUNS:
        op.drop_index(name, "runs")
    for name in _JOURNAL:
        op.drop_index(name, "journal")
    _create_partial_index("ix_journal_actions", ["action", "id"], _ACTING)


def _create_partial_index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "journal", columns, sqlite_where=where, postgresql_where=where)
