"""Alembic's migrations, oldest first; they travel with the package."""
