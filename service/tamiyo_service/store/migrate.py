"""Bringing a database's schema up to date with Alembic."""

from __future__ import annotations

from sqlalchemy import Engine


def upgrade(engine: Engine) -> None:
    """Apply every migration the database lacks, all in one transaction."""
    # Alembic brings a templating engine along; only a start needs it.
    from alembic import command
    from alembic.config import Config

    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "tamiyo_service:migrations")
        command.upgrade(config, "head")
