"""The tables of streams: where shards stand, what was consumed and what became of it, what is to be told to others.

Times are UTC microseconds. `partition` and `message_offset` are of the topic named beside them; `element` is the place
in the message, from 0.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from aml.store.tables import Id, RowId, metadata

# Where each shard of the stream stands: offsets are the next to read of its two inputs; `epoch` counts its owners,
# `generation` how often the shards were made anew.
stream_shards = Table(
    "stream_shards",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("legs_offset", BigInteger, nullable=False),
    Column("records_offset", BigInteger, nullable=False),
    Column("archived_to", BigInteger),  # legs below this offset lie in the archive
    Column("owner", Text, nullable=False),
    Column("taken_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # JSON: what else must change with the offsets
    Column("generation", Integer, nullable=False, server_default=text("0")),
)

# Every element consumed, and what became of it: consumed = scored + duplicate + all rejected:<code>. Each shard adds to
# rows of its own; `day` is the UTC day of the broker's timestamp; `late` counts some of the scored.
stream_counts = Table(
    "stream_counts",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("institution", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# What was scored by hour of execution (2026-03-02T14, UTC; empty where nobody says) and currency, to hold against the
# bank's manifests. The sum of the amounts as sent is 10^9 * billions + units, in minor units: no sum can overflow.
stream_totals = Table(
    "stream_totals",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("institution", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("hour", String(13), primary_key=True),
    Column("currency", String(12), primary_key=True),
    Column("records", BigInteger, nullable=False),
    Column("billions", BigInteger, nullable=False),
    Column("units", BigInteger, nullable=False),
)

# How far each partition of a source topic is covered.
stream_sources = Table(
    "stream_sources",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("partitions", Integer, nullable=False),
    Column("reached_at", BigInteger, nullable=False),  # latest broker timestamp
    Column("ended", Boolean, nullable=False),
    Column("shard", Integer, nullable=False),
)

# Segments of the archive that stand in the state folder: named with the step that makes them known, never changed.
stream_segments = Table(
    "stream_segments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("shard", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("legs_from", BigInteger, nullable=False),
    Column("legs_to", BigInteger, nullable=False),
    Column("archived_at", BigInteger, nullable=False),
)

# The source_sequence numbers that came: one bit each, `blocks` blocks of 8,192 numbers from number 8,192 * `block` on.
# No bits: all of them came. A shard writes rows of its own; shard -1 are those that all shards filled together.
stream_sequences = Table(
    "stream_sequences",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("institution", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("blocks", BigInteger, nullable=False),
    Column("seen", LargeBinary, nullable=False),
)

# Ids that stand twice, as transactions of their own: the second under another first account.
stream_reused = Table(
    "stream_reused",
    metadata,
    Column("institution", Text, primary_key=True),
    Column("transaction_id", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("message_offset", BigInteger, primary_key=True, autoincrement=False),
    Column("element", Integer, primary_key=True, autoincrement=False),
    Column("received_at", BigInteger, nullable=False),
)

# What the bank says it sent: `sums` are minor units by currency; hours as in stream_totals, null: the whole source.
stream_manifests = Table(
    "stream_manifests",
    metadata,
    Column("institution", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("records", BigInteger, nullable=False),
    Column("sums", Text, nullable=False),
    Column("first_id", Text),
    Column("last_id", Text),
    Column("first_hour", String(13)),
    Column("last_hour", String(13)),
    Column("sha256", Text),
    Column("received_at", BigInteger, nullable=False),
)

# Changes of alerts that are to be told to others, in order; `version` is the alert's revision.
outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", RowId, primary_key=True, autoincrement=True),
    Column("shard", Integer, nullable=False),
    Column("alert_id", Id, nullable=False),
    Column("version", Integer, nullable=False),
    Column("institution", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("sent_at", BigInteger),
    UniqueConstraint("alert_id", "version"),
    Index(
        "ix_outbox_unsent",
        "shard",
        "outbox_id",
        sqlite_where=text("sent_at IS NULL"),
        postgresql_where=text("sent_at IS NULL"),
    ),
    Index(None, "sent_at"),
)

# Who alone may do something, until when.
leases = Table(
    "leases",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
)
