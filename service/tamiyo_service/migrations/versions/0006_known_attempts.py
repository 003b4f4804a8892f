"""In which attempt an outcome became known: a rewind discards it with the report that told it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("command_outcomes", sa.Column("known_attempt", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("command_outcomes", "known_attempt")
