"""The tables of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only in a column of exactly the type INTEGER.
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
CURRENT = sa.text("state = 'current'")
NOT_CLOSED = sa.text("status <> 'closed'")
TABLES = [
    "counters",
    "dead_letters",
    "evidence",
    "history",
    "meta",
    "progress",
    "runs",
    "subjects",
    "texts",
    "alerts",
    "checkpoints",
    "findings",
    "alert_findings",
    "finding_transactions",
    "state_files",
]

# What was found, decided, kept or in force stays as it was written: the database itself refuses to change it. Of a
# finding's version only these may change: that it is current no more, and since when.
KEPT = ("dead_letters", "evidence", "finding_transactions", "findings", "history", "texts")
ENDS = ("state", "ended_at")


def upgrade() -> None:
    """Make every table, and let nobody change what is kept."""
    make_tables()
    for table in KEPT:
        keep(table)


def keep(table: str) -> None:
    """Refuse updates and deletions of a table's rows."""
    changed = "UPDATE"
    if table == "findings":
        columns = [column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)]
        changed = "UPDATE OF " + ", ".join(name for name in columns if name not in ENDS)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            """CREATE OR REPLACE FUNCTION aml_kept() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"""
        )
        acts = (("update", changed, "ROW"), ("delete", "DELETE", "ROW"), ("truncate", "TRUNCATE", "STATEMENT"))
        for name, act, each in acts:
            when = f"BEFORE {act} ON {table} FOR EACH {each}"
            op.execute(f"CREATE TRIGGER kept_{table}_{name} {when} EXECUTE FUNCTION aml_kept()")
        return
    for name, act in (("update", changed), ("delete", "DELETE")):
        op.execute(
            f"CREATE TRIGGER kept_{table}_{name} BEFORE {act} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def make_tables() -> None:
    """The tables with their keys and indexes."""
    op.create_table(
        "counters",
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("institution", "name", name="pk_counters"),
    )
    op.create_table(
        "dead_letters",
        sa.Column("dead_letter_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("original", sa.LargeBinary(), nullable=False),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dead_letter_id", name="pk_dead_letters"),
        sa.UniqueConstraint(
            "institution",
            "source",
            "place",
            "content_sha256",
            name="uq_dead_letters_institution_source_place_content_sha256",
        ),
    )
    op.create_index("ix_dead_letters_code", "dead_letters", ["code"])
    op.create_table(
        "evidence",
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("executed_at", sa.BigInteger(), nullable=True),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("institution", "transaction_id", "content_sha256", name="pk_evidence"),
    )
    op.create_table(
        "history",
        sa.Column("history_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.String(length=12), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("history_id", name="pk_history"),
        sa.UniqueConstraint("object_kind", "object_id", "revision", name="uq_history_object_kind_object_id_revision"),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )
    op.create_table(
        "progress",
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("progress_at", sa.BigInteger(), nullable=True),
        sa.Column("highest", sa.Text(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("institution", "source", name="pk_progress"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("engine_version", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("feeds", sa.Text(), nullable=False),
        sa.Column("in_force", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
    )
    op.create_table(
        "subjects",
        sa.Column("subject_key", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("party_institution", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject_key", name="pk_subjects"),
    )
    op.create_index("ix_subjects_institution_id", "subjects", ["institution", "id"])
    op.create_table(
        "texts",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_texts"),
    )
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("subject_key", sa.String(length=36), nullable=False),
        sa.Column("closed_before", sa.Integer(), nullable=False),
        sa.Column("previous_alert_id", sa.String(length=36), nullable=True),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("disposition", sa.String(length=24), nullable=True),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("band", sa.String(length=10), nullable=False),
        sa.Column("raised_at", sa.BigInteger(), nullable=False),
        sa.Column("crossed_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.Column("networks", sa.Text(), nullable=False),
        sa.Column("scoring_sha256", sa.String(length=64), nullable=False),
        sa.Column("action_version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["previous_alert_id"], ["alerts.alert_id"], name="fk_alerts_previous_alert_id"),
        sa.ForeignKeyConstraint(["subject_key"], ["subjects.subject_key"], name="fk_alerts_subject_key"),
        sa.PrimaryKeyConstraint("alert_id", name="pk_alerts"),
    )
    op.create_index("ix_alerts_status_score", "alerts", ["status", "score"])
    op.create_index("ix_alerts_subject_key", "alerts", ["subject_key"])
    op.create_index(
        "uq_alerts_one_open",
        "alerts",
        ["institution", "queue", "subject_key"],
        unique=True,
        sqlite_where=NOT_CLOSED,
        postgresql_where=NOT_CLOSED,
    )
    op.create_table(
        "checkpoints",
        sa.Column("checkpoint_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("run_id", ROW_ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_checkpoints_run_id"),
        sa.PrimaryKeyConstraint("checkpoint_id", name="pk_checkpoints"),
    )
    op.create_table(
        "findings",
        sa.Column("finding_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("subject_key", sa.String(length=36), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("rule_sha256", sa.String(length=64), nullable=False),
        sa.Column("typology", sa.Text(), nullable=False),
        sa.Column("family", sa.String(length=20), nullable=False),
        sa.Column("severity", sa.String(length=20), nullable=False),
        sa.Column("week", sa.String(length=10), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("opens", sa.Boolean(), nullable=False),
        sa.Column("crossed_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=True),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=12), nullable=False),
        sa.Column("hits", sa.Integer(), nullable=False),
        sa.Column("measured", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("networks", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("substance_sha256", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["subject_key"], ["subjects.subject_key"], name="fk_findings_subject_key"),
        sa.PrimaryKeyConstraint("finding_id", "version", name="pk_findings"),
    )
    op.create_index("ix_findings_rule_current", "findings", ["rule"], sqlite_where=CURRENT, postgresql_where=CURRENT)
    op.create_index(
        "ix_findings_subject_current", "findings", ["subject_key"], sqlite_where=CURRENT, postgresql_where=CURRENT
    )
    op.create_index(
        "uq_findings_current", "findings", ["finding_id"], unique=True, sqlite_where=CURRENT, postgresql_where=CURRENT
    )
    op.create_table(
        "alert_findings",
        sa.Column("alert_id", sa.String(length=36), nullable=False),
        sa.Column("finding_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("substance_sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.alert_id"], name="fk_alert_findings_alert_id"),
        sa.ForeignKeyConstraint(
            ["finding_id", "version"],
            ["findings.finding_id", "findings.version"],
            name="fk_alert_findings_finding_id_version",
        ),
        sa.PrimaryKeyConstraint("alert_id", "finding_id", name="pk_alert_findings"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_alert_findings_finding_id", "alert_findings", ["finding_id"])
    op.create_table(
        "finding_transactions",
        sa.Column("finding_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["finding_id", "version"],
            ["findings.finding_id", "findings.version"],
            name="fk_finding_transactions_finding_id_version",
        ),
        sa.PrimaryKeyConstraint("finding_id", "version", "place", name="pk_finding_transactions"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_finding_transactions_transaction_id", "finding_transactions", ["transaction_id"])
    op.create_table(
        "state_files",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("added_by", ROW_ID, nullable=False),
        sa.Column("retired_by", ROW_ID, nullable=True),
        sa.ForeignKeyConstraint(["added_by"], ["checkpoints.checkpoint_id"], name="fk_state_files_added_by"),
        sa.ForeignKeyConstraint(["retired_by"], ["checkpoints.checkpoint_id"], name="fk_state_files_retired_by"),
        sa.PrimaryKeyConstraint("name", name="pk_state_files"),
    )


def downgrade() -> None:
    """Drop every table, those that others point at last."""
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION aml_kept()")
