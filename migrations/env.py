"""Runs migrations on the connection that `aml.store` hands over, or on AML_DB for Alembic's own command."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection

from aml.store import stream_tables  # noqa: F401 - its tables join the metadata
from aml.store.engine import make_engine, parse_url
from aml.store.schema import VERSION_TABLE
from aml.store.tables import metadata


def run(connection: Connection) -> None:
    """Run the migrations that were asked for."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    with make_engine(parse_url(os.environ.get("AML_DB") or "sqlite:///aml.db")).begin() as own:
        run(own)
