"""Operational state in a database: SQLite by default, PostgreSQL in production. Migrations live in `sql/migrations`."""

from pipeline.database.connection import connect

__all__ = ["connect"]
