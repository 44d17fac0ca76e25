"""Shards that were made anew in another number are another generation of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Those that are there are the first."""
    op.add_column("stream_shards", sa.Column("generation", sa.Integer(), nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("stream_shards", "generation")
