"""The rows of subjects, whose locks serialise what changes their findings and alerts."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from aml.domain.finding import Subject, SubjectKind
from aml.store.statements import in_chunks, insert_new
from aml.store.tables import subjects


def lock_subjects(connection: Connection, wanted: Iterable[Subject]) -> dict[str, Subject]:
    """Lock the subjects' rows until the transaction ends, making those that are new; returns them by key.

    Always in the order of their keys, so that two writers wait for each other but never deadlock.
    """
    by_key = {subject.key: subject for subject in set(wanted)}
    keys = sorted(by_key)
    insert_new(connection, subjects, [_row(key, by_key[key]) for key in keys])
    if connection.dialect.name == "postgresql":
        locking = select(subjects.c.subject_key).order_by(subjects.c.subject_key).with_for_update()
        for _ in in_chunks(connection, locking, subjects.c.subject_key, keys):
            pass
    return by_key


def load_subjects(connection: Connection, keys: Iterable[str]) -> dict[str, Subject]:
    """The subjects with these keys, by key."""
    rows = in_chunks(connection, select(subjects), subjects.c.subject_key, sorted(set(keys)))
    return {
        row.subject_key: Subject(row.institution, row.party_institution, SubjectKind(row.kind), row.id) for row in rows
    }


def _row(key: str, subject: Subject) -> dict[str, str]:
    return {
        "subject_key": key,
        "institution": subject.institution,
        "party_institution": subject.party_institution,
        "kind": subject.kind.value,
        "id": subject.id,
    }
