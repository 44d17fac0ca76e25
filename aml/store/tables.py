"""The tables of the database, written out; `migrations/` builds the same. Those of streams: `stream_tables.py`.

Times are UTC microseconds, amounts minor units of the institution's reporting currency, ids texts. Texts that other
programs read hold JSON; `history.body` holds canonical bytes.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)

Id = String(36)
Sha256 = String(64)
# SQLite numbers rows by itself only in a column of exactly the type INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

meta = Table(
    "meta",
    metadata,
    Column("key", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)

# What was in force, word for word, by hash: rule files, scoring, profiles, model descriptions.
texts = Table(
    "texts",
    metadata,
    Column("sha256", Sha256, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("text", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", RowId, primary_key=True, autoincrement=True),
    Column("state", String(12), nullable=False),  # running, finished, interrupted, failed
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("engine_version", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("feeds", Text, nullable=False),
    Column("in_force", Text, nullable=False),  # [{kind, name, version, sha256}]
    Column("counts", Text, nullable=False),
)

# How far each source has come, per institution; `highest` are the latest executed_at that decide it.
progress = Table(
    "progress",
    metadata,
    Column("institution", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("progress_at", BigInteger),
    Column("highest", Text, nullable=False),
    Column("records", BigInteger, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("checkpoint_id", RowId, primary_key=True, autoincrement=True),
    Column("run_id", RowId, ForeignKey("runs.run_id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)

# The files of the state folder that the database stands on; a file that no longer counts has `retired_by`.
state_files = Table(
    "state_files",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("sha256", Sha256, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("added_by", RowId, ForeignKey("checkpoints.checkpoint_id"), nullable=False),
    Column("retired_by", RowId, ForeignKey("checkpoints.checkpoint_id")),
)

# One row per subject: its lock serialises all that changes the subject's alerts.
subjects = Table(
    "subjects",
    metadata,
    Column("subject_key", Id, primary_key=True),
    Column("institution", Text, nullable=False),
    Column("party_institution", Text, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("id", Text, nullable=False),
    Index(None, "institution", "id"),
)

# Append-only: of a row only `state` and `ended_at` change, once.
findings = Table(
    "findings",
    metadata,
    Column("finding_id", Id, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("state", String(10), nullable=False),  # current, superseded, withdrawn
    Column("subject_key", Id, ForeignKey("subjects.subject_key"), nullable=False),
    Column("rule", Text, nullable=False),
    Column("rule_version", Integer, nullable=False),
    Column("rule_sha256", Sha256, nullable=False),
    Column("typology", Text, nullable=False),
    Column("family", String(20), nullable=False),
    Column("severity", String(20), nullable=False),
    Column("week", String(10), nullable=False),
    Column("points", Integer, nullable=False),
    Column("opens", Boolean, nullable=False),
    Column("crossed_at", BigInteger, nullable=False),
    Column("opened_at", BigInteger),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("currency", String(12), nullable=False),
    Column("hits", Integer, nullable=False),
    Column("measured", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("networks", Text, nullable=False),
    Column("notes", Text, nullable=False),
    Column("path", Text, nullable=False),  # [[transaction_id, from_holder, to_holder, amount, at]]
    Column("content_sha256", Sha256, nullable=False),
    Column("substance_sha256", Sha256, nullable=False),  # of what a decision is about: see store/findings.py
    Column("recorded_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Index(
        "uq_findings_current",
        "finding_id",
        unique=True,
        sqlite_where=text("state = 'current'"),
        postgresql_where=text("state = 'current'"),
    ),
    Index(
        "ix_findings_subject_current",
        "subject_key",
        sqlite_where=text("state = 'current'"),
        postgresql_where=text("state = 'current'"),
    ),
    Index(
        "ix_findings_rule_current",
        "rule",
        sqlite_where=text("state = 'current'"),
        postgresql_where=text("state = 'current'"),
    ),
)

# The transactions of each version, in the engine's order; of a path that is hop by hop.
finding_transactions = Table(
    "finding_transactions",
    metadata,
    Column("finding_id", Id, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("transaction_id", Text, nullable=False),
    ForeignKeyConstraint(["finding_id", "version"], ["findings.finding_id", "findings.version"]),
    Index(None, "transaction_id"),
    sqlite_with_rowid=False,
)

# Records named by findings, kept whole; a record that a revision replaced stays beside its successor.
evidence = Table(
    "evidence",
    metadata,
    Column("institution", Text, primary_key=True),
    Column("transaction_id", Text, primary_key=True),
    Column("content_sha256", Sha256, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("executed_at", BigInteger),
    Column("record", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
)

# `action_version` counts people's actions, `revision` every change; each revision has its row in `history`.
alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", Id, primary_key=True),
    Column("institution", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("subject_key", Id, ForeignKey("subjects.subject_key"), nullable=False),
    Column("closed_before", Integer, nullable=False),
    Column("previous_alert_id", Id, ForeignKey("alerts.alert_id")),
    Column("status", String(12), nullable=False),
    Column("disposition", String(24)),
    Column("score", Float, nullable=False),
    Column("points", Integer, nullable=False),
    Column("band", String(10), nullable=False),
    Column("raised_at", BigInteger, nullable=False),
    Column("crossed_at", BigInteger),
    Column("closed_at", BigInteger),
    Column("parts", Text, nullable=False),
    Column("networks", Text, nullable=False),
    Column("scoring_sha256", Sha256, nullable=False),
    Column("action_version", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Index(
        "uq_alerts_one_open",
        "institution",
        "queue",
        "subject_key",
        unique=True,
        sqlite_where=text("status <> 'closed'"),
        postgresql_where=text("status <> 'closed'"),
    ),
    Index(None, "subject_key"),
    Index(None, "status", "score"),
)

# The finding versions an alert stands on: the undecided current ones while open, the decided ones once closed.
alert_findings = Table(
    "alert_findings",
    metadata,
    Column("alert_id", Id, ForeignKey("alerts.alert_id"), primary_key=True),
    Column("finding_id", Id, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("substance_sha256", Sha256, nullable=False),
    ForeignKeyConstraint(["finding_id", "version"], ["findings.finding_id", "findings.version"]),
    Index(None, "finding_id"),
    sqlite_with_rowid=False,
)

# Append-only. `body` is canonical JSON and says all that the other columns say; `sha256` is of its bytes.
history = Table(
    "history",
    metadata,
    Column("history_id", RowId, primary_key=True, autoincrement=True),
    Column("institution", Text, nullable=False),
    Column("object_kind", String(12), nullable=False),
    Column("object_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("sha256", Sha256, nullable=False),
    UniqueConstraint("object_kind", "object_id", "revision"),
)

# What could not be scored, whole, once per place and content.
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("dead_letter_id", RowId, primary_key=True, autoincrement=True),
    Column("institution", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("place", BigInteger, nullable=False),
    Column("content_sha256", Sha256, nullable=False),
    Column("code", String(40), nullable=False),
    Column("detail", Text, nullable=False),
    Column("original", LargeBinary, nullable=False),
    Column("first_seen_at", BigInteger, nullable=False),
    # Of a stream, where it stood: `element` is its place in the message, from 0. Nulls in a file run.
    Column("topic", Text),
    Column("partition", Integer),
    Column("message_offset", BigInteger),
    Column("element", Integer),
    UniqueConstraint("institution", "source", "place", "content_sha256"),
    Index(None, "code"),
)

# Running totals by name, such as warnings by code.
counters = Table(
    "counters",
    metadata,
    Column("institution", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# When a dead letter was sent to its topic again, each time. Append-only.
dead_letter_replays = Table(
    "dead_letter_replays",
    metadata,
    Column("replay_id", RowId, primary_key=True, autoincrement=True),
    Column("dead_letter_id", RowId, ForeignKey("dead_letters.dead_letter_id"), nullable=False),
    Column("replayed_at", BigInteger, nullable=False),
    Index(None, "dead_letter_id"),
)
