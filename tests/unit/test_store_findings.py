"""Findings are versions that are only ever added; the same findings again change nothing."""

from __future__ import annotations

import dataclasses

from sqlalchemy import select

from aml.domain.finding import FindingChange, Hop
from aml.store.findings import EvidenceRecord, load_evidence, load_findings
from aml.store.queries import count
from aml.store.tables import finding_transactions, findings
from tests.store_factory import T0, change, finding, put


def versions(database):
    with database.read() as connection:
        query = select(findings.c.version, findings.c.state, findings.c.points).order_by(findings.c.version)
        return [tuple(row) for row in connection.execute(query)]


def test_a_finding_comes_back_as_it_went_in(database):
    hops = (Hop("T1", "C1", "C2", 10_000, T0), Hop("T2", "C2", "C3", 9_500, T0 + 1))
    given = finding(path=hops, networks=("n1",), notes=("day precision",), transaction_ids=("T1", "T2"))
    put(database, given)
    with database.read() as connection:
        assert load_findings(connection, [(given.finding_id, 1)]) == {(given.finding_id, 1): given}


def test_the_same_findings_again_make_no_version(database):
    put(database, finding())
    applied, recomputed = put(database, finding())
    assert (applied.unchanged, applied.new, applied.amended, applied.subjects) == (1, 0, 0, set())
    assert recomputed.changed == 0
    assert versions(database) == [(1, "current", 40)]


def test_the_order_of_measured_values_is_no_change(database):
    put(database, finding(measured={"a": 1, "b": 2}))
    applied, _ = put(database, finding(measured={"b": 2, "a": 1}))
    assert applied.unchanged == 1


def test_an_amended_finding_keeps_its_predecessor(database):
    put(database, finding())
    applied, _ = put(database, finding(points=80, transaction_ids=("T2", "T1", "T3")))
    assert applied.amended == 1
    assert versions(database) == [(1, "superseded", 40), (2, "current", 80)]
    with database.read() as connection:
        named = finding_transactions.c
        query = select(named.version, named.transaction_id).order_by(named.version, named.place)
        kept = [tuple(row) for row in connection.execute(query)]
    assert kept == [(1, "T2"), (1, "T1"), (2, "T2"), (2, "T1"), (2, "T3")]


def test_a_withdrawn_finding_counts_no_more_and_returns_as_a_new_version(database):
    put(database, finding())
    gone = FindingChange.withdraw(finding().finding_id)
    assert change(database, gone)[0].withdrawn == 1
    assert change(database, gone)[0].unchanged == 1
    with database.read() as connection:
        assert count(connection).findings == 0
    put(database, finding())
    assert versions(database) == [(1, "withdrawn", 40), (2, "current", 40)]


def test_of_several_changes_of_one_finding_the_last_counts(database):
    upsert = FindingChange.upsert
    change(database, upsert(finding()), FindingChange.withdraw(finding().finding_id), upsert(finding(points=80)))
    assert versions(database) == [(1, "current", 80)]


def test_withdrawing_what_never_was_is_no_change(database):
    applied, _ = change(database, FindingChange.withdraw("nothing"))
    assert (applied.unchanged, applied.withdrawn) == (1, 0)


def test_near_misses_are_counted_among_findings(database):
    put(database, finding("a"), finding("b", opens=False), finding("c", name="C2", opens=False))
    with database.read() as connection:
        assert count(connection) == dataclasses.replace(count(connection), findings=3, alerts=1, near_misses=2)


def test_exempt_findings_are_counted_among_near_misses(database):
    noted = {"exempt_until": "2026-12-31", "segment": "person"}
    said = {"segment": 'the words "exempt_until": in a value'}
    sampled = finding("c", parameters={**noted, "exempt_sampled": True})
    near = [finding("a", opens=False, parameters=noted), finding("b", opens=False, parameters=said)]
    put(database, sampled, *near)
    with database.read() as connection:
        assert (count(connection).near_misses, count(connection).exempted) == (2, 1)


def test_evidence_is_kept_once_per_content_newest_revision_first(database):
    records = [
        EvidenceRecord("main", "T1", 1, T0, '{"transaction_id":"T1","revision":1}'),
        EvidenceRecord("main", "T1", 2, T0, '{"transaction_id":"T1","revision":2}'),
        EvidenceRecord("other", "T1", 1, T0, '{"transaction_id":"T1","revision":9}'),
    ]
    with database.begin() as uow:
        assert uow.findings.add_evidence(records) == 3
        assert uow.findings.add_evidence(records) == 0
    with database.read() as connection:
        assert [record["revision"] for record in load_evidence(connection, "main", ["T1", "T9"])] == [2, 1]


def test_thousands_at_once_are_applied_like_one(database):
    many = [finding(f"r{n % 3}", name=f"C{n // 3}") for n in range(1800)]
    applied, recomputed = put(database, *many)
    assert (applied.new, recomputed.raised) == (1800, 600)
    applied, recomputed = put(database, *many, finding("r9", name="C7"))
    assert (applied.unchanged, applied.new, recomputed.changed) == (1800, 1, 1)
