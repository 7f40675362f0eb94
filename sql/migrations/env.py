"""Alembic's entry: runs on the connection that `pipeline.database` hands over."""

from alembic import context

from pipeline.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
