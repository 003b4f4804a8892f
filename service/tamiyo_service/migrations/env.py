"""Alembic's entry point: migrates through the connection handed in by `tamiyo_service.store.migrate`."""

from alembic import context

from tamiyo_service.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite's schema changes are transactional; only its Python driver used not to be.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
