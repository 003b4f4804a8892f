"""Who may call: API keys, of which only hashes are kept, and the sessions of the page."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", _NAME, primary_key=True),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("prefixes", sa.Text, nullable=False),
        sa.Column("hash", _NAME, nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("last_used_at", sa.BigInteger),
    )
    op.create_table(
        "page_sessions",
        sa.Column("hash", _NAME, primary_key=True),
        sa.Column("key_id", _NAME, sa.ForeignKey("api_keys.key_id", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("page_sessions")
    op.drop_table("api_keys")
