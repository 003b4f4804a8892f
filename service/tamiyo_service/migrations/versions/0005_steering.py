"""What operators order: an override that waits, the policy a run was given since it began."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("journal", sa.Column("override", sa.Text))
    op.add_column("runs", sa.Column("chosen", sa.Text))


def downgrade() -> None:
    op.drop_column("runs", "chosen")
    op.drop_column("journal", "override")
