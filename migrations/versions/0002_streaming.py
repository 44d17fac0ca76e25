"""The tables of streams."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only in a column of exactly the type INTEGER.
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UNSENT = sa.text("sent_at IS NULL")
TABLES = [
    "dead_letter_replays",
    "leases",
    "outbox",
    "stream_counts",
    "stream_manifests",
    "stream_reused",
    "stream_segments",
    "stream_sequences",
    "stream_shards",
    "stream_sources",
    "stream_totals",
]
PLACES: tuple[tuple[str, sa.types.TypeEngine[Any]], ...] = (
    ("topic", sa.Text()),
    ("partition", sa.Integer()),
    ("message_offset", sa.BigInteger()),
    ("element", sa.Integer()),
)


def upgrade() -> None:
    """Make the tables, and give dead letters a place in a topic."""
    for name, kind in PLACES:
        op.add_column("dead_letters", sa.Column(name, kind, nullable=True))
    make_shards()
    make_segments()
    make_counts()
    make_outbox()
    keep_replays()


def keep_replays() -> None:
    """Refuse updates and deletions of replays, as the first version does for what is kept."""
    if op.get_bind().dialect.name == "postgresql":
        for name, act, each in (("update", "UPDATE", "ROW"), ("delete", "DELETE", "ROW")):
            when = f"BEFORE {act} ON dead_letter_replays FOR EACH {each}"
            op.execute(f"CREATE TRIGGER kept_dead_letter_replays_{name} {when} EXECUTE FUNCTION aml_kept()")
        when = "BEFORE TRUNCATE ON dead_letter_replays FOR EACH STATEMENT"
        op.execute(f"CREATE TRIGGER kept_dead_letter_replays_truncate {when} EXECUTE FUNCTION aml_kept()")
        return
    for name, act in (("update", "UPDATE"), ("delete", "DELETE")):
        op.execute(
            f"CREATE TRIGGER kept_dead_letter_replays_{name} BEFORE {act} ON dead_letter_replays "
            "BEGIN SELECT RAISE(ABORT, 'dead_letter_replays is append-only'); END"
        )


def make_shards() -> None:
    """Where shards and sources stand, who may do what alone, and when dead letters were replayed."""
    op.create_table(
        "dead_letter_replays",
        sa.Column("replay_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("dead_letter_id", ROW_ID, nullable=False),
        sa.Column("replayed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dead_letter_id"], ["dead_letters.dead_letter_id"], name="fk_dead_letter_replays_dead_letter_id"
        ),
        sa.PrimaryKeyConstraint("replay_id", name="pk_dead_letter_replays"),
    )
    op.create_index("ix_dead_letter_replays_dead_letter_id", "dead_letter_replays", ["dead_letter_id"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "stream_shards",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("legs_offset", sa.BigInteger(), nullable=False),
        sa.Column("records_offset", sa.BigInteger(), nullable=False),
        sa.Column("archived_to", sa.BigInteger(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("shard", name="pk_stream_shards"),
    )
    op.create_table(
        "stream_sources",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_offset", sa.BigInteger(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("partitions", sa.Integer(), nullable=False),
        sa.Column("reached_at", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_stream_sources"),
    )


def make_segments() -> None:
    """The archive's segments."""
    op.create_table(
        "stream_segments",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("legs_from", sa.BigInteger(), nullable=False),
        sa.Column("legs_to", sa.BigInteger(), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_stream_segments"),
    )


def make_counts() -> None:
    """What was consumed, what became of it, and what the bank says it sent."""
    op.create_table(
        "stream_counts",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "shard", "topic", "partition", "institution", "source", "day", "outcome", name="pk_stream_counts"
        ),
    )
    op.create_table(
        "stream_totals",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("hour", sa.String(length=13), nullable=False),
        sa.Column("currency", sa.String(length=12), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("billions", sa.BigInteger(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("shard", "institution", "source", "hour", "currency", name="pk_stream_totals"),
    )
    op.create_table(
        "stream_sequences",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("block", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("blocks", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("shard", "institution", "source", "block", name="pk_stream_sequences"),
    )
    op.create_table(
        "stream_reused",
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("message_offset", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("element", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "institution", "transaction_id", "topic", "partition", "message_offset", "element", name="pk_stream_reused"
        ),
    )
    op.create_table(
        "stream_manifests",
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("sums", sa.Text(), nullable=False),
        sa.Column("first_id", sa.Text(), nullable=True),
        sa.Column("last_id", sa.Text(), nullable=True),
        sa.Column("first_hour", sa.String(length=13), nullable=True),
        sa.Column("last_hour", sa.String(length=13), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("institution", "source", "name", name="pk_stream_manifests"),
    )


def make_outbox() -> None:
    """Changes of alerts that are to be told."""
    op.create_table(
        "outbox",
        sa.Column("outbox_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("alert_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("outbox_id", name="pk_outbox"),
        sa.UniqueConstraint("alert_id", "version", name="uq_outbox_alert_id_version"),
    )
    op.create_index("ix_outbox_unsent", "outbox", ["shard", "outbox_id"], sqlite_where=UNSENT, postgresql_where=UNSENT)
    op.create_index("ix_outbox_sent_at", "outbox", ["sent_at"])


def downgrade() -> None:
    """Drop the tables, and take the places from dead letters."""
    for table in TABLES:
        op.drop_table(table)
    for name, _ in PLACES:
        op.drop_column("dead_letters", name)
