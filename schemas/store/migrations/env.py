"""Alembic's entry point. Migrations run on the connection that `schemas.store.migrate` passes."""

from alembic import context

from schemas.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
