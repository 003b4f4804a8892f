"""What the learned policy leaves: a network's advice, activations of models, decisions of shadow policies."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("journal", sa.Column("advice", sa.Text))
    op.create_table(
        "activations",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("topology", _NAME, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("previous", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_activations_topology", "activations", ["topology", "id"])
    op.create_table(
        "model_versions",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("version", _NAME, primary_key=True),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "shadow_decisions",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("run_pk", _KEY, sa.ForeignKey("runs.run_pk", ondelete="CASCADE"), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("policy", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("agrees", sa.Boolean, nullable=False),
        sa.Column("action", _NAME, nullable=False),
        sa.Column("sha256", sa.Text),
        sa.Column("commands", sa.Text, nullable=False),
        sa.Column("slots", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.UniqueConstraint("run_pk", "seq", "policy", "version", name="uq_shadow_decisions_decision"),
    )
    op.create_table(
        "shadow_shares",
        sa.Column("share", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("held_until", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    for table in ("shadow_shares", "shadow_decisions", "model_versions", "activations"):
        op.drop_table(table)
    op.drop_column("journal", "advice")
