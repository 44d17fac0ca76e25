"""What reconciles, what does not and what merely waits: by the equation, the manifests, the numbering, the weekdays."""

from __future__ import annotations

import datetime as dt
import json
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml.domain.errors import AmlError
from aml.store.database import open_database
from aml.store.dead_letters import BAD_MANIFEST, of_stream
from aml.store.stream import CountKey, Manifest, Move, ReusedId, SourceRow, TotalKey
from aml.stream.mail import RECORD, TRANSACTION, Head, pack_letter
from aml.stream.peek import Message
from aml.stream.reconcile import reconcile, report_object
from aml.stream.wire import pack_bundle
from tests.postgres import Clock

BANK, LEGS, INNER = "aml.transactions.v1", "aml.legs.v1", "aml.records.v1"
DAY = "2023-11-14"  # the day of the test clock
SHARDS = 2


@dataclass
class FakeBroker:
    """Topics as lists of messages behind a first offset; a message's value is how many elements it holds."""

    topics: dict[tuple[str, int], tuple[int, list[bytes]]] = field(default_factory=dict)
    most: int | None = None

    def ends(self, topic):
        return {p: (first, first + len(held)) for (t, p), (first, held) in self.topics.items() if t == topic}

    def read(self, spans, take, most, seconds):
        left = self.most if self.most is not None else most
        stopped = {}
        for place, (first, end) in spans.items():
            begin, held = self.topics.get(place, (0, []))
            for offset in range(first, end):
                if not left:
                    stopped[place] = offset
                    break
                left -= 1
                take(Message(*place, offset, 1_000_000 * offset, None, held[offset - begin], ()))
        return stopped


def records(rows):
    return pack_bundle([pack_letter(Head(0, 1, 1, RECORD, 0), {"transactions": np.zeros(rows, TRANSACTION)})])


def asked(database, broker=None, day=None):
    peeking = (lambda: nullcontext(broker)) if isinstance(broker, FakeBroker) else broker
    return reconcile(database, peeking, [BANK], (LEGS, INNER), lambda m: int(m.value), day)


def key(outcome, partition=0, day=DAY, source="core", institution="main"):
    return CountKey(BANK, partition, institution, source, day, outcome)


def fill(database, counts, next_offset=10, covered=(10, 10), totals=None, manifests=(), **given):
    """One partition consumed up to an offset; each shard has covered it up to its own; shard 0 counted all."""
    with database.begin() as uow:
        uow.stream.begin(SHARDS)
        rows = [uow.stream.take_over(shard, "a") for shard in range(SHARDS)]
        places = [{"covered": {f"{BANK}:0": at}} for at in covered]
        moves = [Move(r.shard, r.epoch, 0, 7, 0, 3, state) for r, state in zip(rows, places, strict=True)]
        assert uow.stream.advance(moves) == set()
        uow.stream.sources([SourceRow(BANK, 0, 0, next_offset, 1, 5, False, 0)])
        uow.stream.count(0, counts)
        uow.stream.total(0, totals or {})
        uow.stream.manifests(manifests)


def idle(next_offset=10):
    """A broker in which nothing waits."""
    return FakeBroker({(BANK, 0): (0, [b"1"] * next_offset), (INNER, 0): (0, [b""] * 3), (INNER, 1): (0, [b""] * 3)})


BALANCED = {key("consumed"): 20, key("scored"): 15, key("duplicate"): 2, key("rejected:not_json"): 3, key("late"): 1}


def test_a_database_without_a_stream_says_so(database):
    with pytest.raises(AmlError, match="no stream was consumed into it: start `aml worker`"):
        asked(database, idle())


def test_what_adds_up_reconciles(database):
    fill(database, BALANCED)
    report = asked(database, idle())
    assert report.faults == [] and report.reconciles
    told = json.loads(json.dumps(report_object(report)))
    assert (told["scored"], told["duplicates"], told["rejected"], told["pending"]) == (15, 2, {"not_json": 3}, 0)
    assert told["late"] == 1
    (partition,) = told["partitions"]
    assert partition == {
        "topic": BANK,
        "partition": 0,
        "consumed": 20,
        "scored": 15,
        "duplicates": 2,
        "rejected": {"not_json": 3},
        "late": 1,
        "pending": 0,
        "unaccounted": 0,
        "next_offset": 10,
        "end_offset": 10,
    }
    (day,) = told["days"]
    assert (day["day"], day["institution"], day["source"], day["consumed"], day["unaccounted"]) == (
        DAY, "main", "core", 20, 0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scored", "said"), [(14, "elements consumed and not accounted for: 1"), (16, "elements accounted for twice: 1")]
)
def test_what_is_lost_or_doubled_is_named(database, scored, said):
    fill(database, {**BALANCED, key("scored"): scored})
    report = asked(database, idle())
    assert len(report.faults) == 1
    assert report.faults[0].startswith(f"{BANK}[0], main, core, {DAY}: {said}")
    assert report.partitions[0].unaccounted == 15 - scored
    assert report.pending == 0


def test_a_loss_that_another_source_balances_is_named_all_the_same(database):
    fill(database, {**BALANCED, key("scored"): 14, key("scored", source="swift"): 1})
    assert [("core" in line, "swift" in line) for line in asked(database, idle()).faults] == [
        (True, False),
        (False, True),
    ]


def test_what_another_shard_has_yet_to_judge_is_pending_not_lost(database):
    fill(database, {**BALANCED, key("scored"): 11}, covered=(10, 8))
    report = asked(database, idle())
    assert (report.pending, report.partitions[0].unaccounted) == (4, 0)
    assert report.faults == ["elements under way: 4: ask again when the workers are through"]


def test_what_was_judged_before_it_was_counted_as_consumed_is_not_pending_twice(database):
    """Shard 1 is ahead of shard 0, which counts: two of the five elements that wait were judged already."""
    fill(database, {**BALANCED, key("scored"): 17}, covered=(10, 12))
    report = asked(database, idle(15))
    assert (report.pending, report.partitions[0].unaccounted) == (3, 0)


def test_elements_that_wait_in_the_topic_are_counted_in_their_messages(database):
    fill(database, BALANCED)
    broker = idle()
    broker.topics[BANK, 0][1].extend([b"500", b"1", b"7"])
    broker.topics[BANK, 1] = (0, [b"2"])  # a partition that nobody has seen yet
    report = asked(database, broker)
    assert report.pending == 510
    assert [(p.partition, p.pending, p.next, p.end) for p in report.partitions] == [(0, 508, 10, 13), (1, 2, 0, 1)]
    assert report.oldest == 0
    assert "elements under way: 510" in report.faults[0]


def test_records_between_shards_are_pending_until_they_are_committed(database):
    fill(database, BALANCED)
    broker = idle()
    broker.topics[INNER, 1][1].extend([records(4), records(0), records(2)])
    assert asked(database, broker).pending == 6


def test_what_was_not_read_to_the_end_is_told_as_a_lower_bound(database):
    fill(database, BALANCED)
    broker = idle()
    broker.topics[BANK, 0][1].extend([b"500"] * 4)
    broker.most = 1
    report = asked(database, broker)
    assert (report.pending, report.exact) == (503, False)
    assert "elements under way: 503 or more" in report.faults[0]


def test_what_retention_removed_before_it_was_consumed_is_lost(database):
    fill(database, BALANCED)
    broker = FakeBroker({(BANK, 0): (14, [b"1"]), (INNER, 1): (9, []), (LEGS, 0): (8, [])})
    faults = asked(database, broker).faults
    assert any("offsets 10 to 13 were removed by its retention" in line for line in faults)
    assert any(line.startswith(f"{INNER}[1]: offsets 3 to 8 were removed") for line in faults)
    assert any(line.startswith(f"{LEGS}[0]: offsets 7 to 7 were removed") for line in faults)


def test_a_topic_that_was_made_anew_is_noticed(database):
    fill(database, BALANCED)
    assert any("ends at offset 4, and was consumed up to 10" in line for line in asked(database, idle(4)).faults)


def test_without_a_broker_the_database_is_told_and_does_not_reconcile(database):
    fill(database, BALANCED)

    @contextmanager
    def away():
        raise AmlError("Kafka at 127.0.0.1:1 does not answer")
        yield

    report = asked(database, away)
    assert (report.total.scored, report.pending, report.partitions[0].pending) == (15, None, None)
    assert report.faults == ["what is pending is not known: Kafka at 127.0.0.1:1 does not answer"]


def test_one_day_is_proven_while_others_go_on(database):
    other = {key("consumed", day="2023-11-15"): 5, key("scored", day="2023-11-15"): 3}
    fill(database, {**BALANCED, **other}, covered=(10, 9))
    day = dt.date(2023, 11, 14)
    broker = idle(12)
    report = asked(database, broker, day)
    assert report.total.consumed == 20
    assert report.faults == [
        "2023-11-14 is not over here: the oldest that waits to be consumed came at 1970-01-01T00:00:10Z: ask again "
        "later"
    ]
    assert asked(database, idle(), day).reconciles
    (fault,) = asked(database, idle(), dt.date(2023, 11, 15)).faults
    assert "elements consumed and not accounted for: 2" in fault


def manifest(name, records, hours=(None, None), **sums):
    return Manifest("main", "core", name, records, sums, first_hour=hours[0], last_hour=hours[1])


def hour(number, currency="USD"):
    return TotalKey("main", "core", f"2023-11-14T{number:02}", currency)


def test_manifests_of_hours_are_held_against_those_hours(database):
    totals = {hour(9): (5, 100), hour(10): (9, 70), hour(10, "EUR"): (1, 30), hour(12): (1, 1)}
    manifests = [
        manifest("h09", 5, ("2023-11-14T09", "2023-11-14T09"), USD=100),
        manifest("h10a", 4, ("2023-11-14T10", "2023-11-14T10"), USD=30),
        manifest("h10b", 6, ("2023-11-14T10", "2023-11-14T10"), USD=40, EUR=30),
    ]
    fill(database, BALANCED, totals=totals, manifests=manifests)
    report = asked(database, idle())
    assert report.reconciles
    assert [(m["names"], m["sent"], m["scored"], m["differences"]) for m in report.manifests] == [
        (["h09"], 5, 5, {}),
        (["h10a", "h10b"], 10, 10, {}),
    ]


def test_a_manifest_whose_sum_differs_is_named(database):
    manifests = [manifest("h09", 5, ("2023-11-14T09", "2023-11-14T09"), USD=101)]
    fill(database, BALANCED, totals={hour(9): (5, 100)}, manifests=manifests)
    assert asked(database, idle()).faults == ["main, core, manifest h09: sums differ (minor units): USD -1"]


def test_more_than_a_manifest_of_hours_names_is_a_fault_and_of_a_source_an_alarm(database):
    manifests = [manifest("h09", 4, ("2023-11-14T09", "2023-11-14T09"), USD=100)]
    fill(database, BALANCED, totals={hour(9): (5, 100)}, manifests=manifests)
    (fault,) = asked(database, idle()).faults
    assert "h09: 5 elements were scored, the bank says that it sent 4" in fault
    with database.begin() as uow:
        uow.stream.manifests([manifest("h09", 4, USD=100)])
    report = asked(database, idle())
    assert (report.faults, report.alarms) == ([], ["main, core: 1 elements were scored that no manifest names"])


def test_what_a_manifest_names_may_be_rejected_or_a_duplicate_but_no_more(database):
    fill(database, BALANCED, totals={hour(9): (15, 100)}, manifests=[manifest("all", 20, USD=130)])
    assert asked(database, idle()).reconciles
    with database.begin() as uow:
        uow.stream.manifests([manifest("all", 21, USD=130)])
    (fault,) = asked(database, idle()).faults
    assert "6 of the elements that the bank's manifests name were not scored, and only 5 were rejected" in fault


def test_records_without_a_time_are_held_against_a_manifest_of_their_own(database):
    nobody = TotalKey("main", "core", "", "USD")
    manifests = [manifest("h09", 5, ("2023-11-14T09", "2023-11-14T09"), USD=100), manifest("voids", 2, ("", ""), USD=0)]
    fill(database, BALANCED, totals={hour(9): (5, 100), nobody: (2, 0)}, manifests=manifests)
    report = asked(database, idle())
    assert (report.faults, report.alarms) == ([], [])
    assert [(m["names"], m["sent"], m["scored"]) for m in report.manifests] == [(["voids"], 2, 2), (["h09"], 5, 5)]


def test_messages_that_are_no_manifests_are_alarmed(database):
    fill(database, BALANCED)
    with database.begin() as uow:
        uow.dead_letters.add([of_stream("main", "aml.manifests.v1", 0, 3, 0, BAD_MANIFEST, "no JSON", b"{")])
    report = asked(database, idle())
    assert report.reconciles and report_object(report)["unreadable_manifests"] == 1
    (alarm,) = report.alarms
    assert alarm.startswith("messages of the bank that should be manifests: 1 cannot be read: see `aml dlq list --code")


def test_the_oldest_element_that_any_shard_has_yet_to_judge_is_shown_and_alarmed(database):
    """Shard 1 has judged up to 8 of what shard 0 counted as consumed, up to 10; two more wait in the topic."""
    fill(database, {**BALANCED, key("scored"): 13}, covered=(10, 8))
    report = asked(database, idle(12))
    assert report.oldest == 8_000_000
    (alarm,) = report.alarms
    assert alarm.startswith("the oldest element that waits came 28,3") and alarm.endswith("at 1970-01-01T00:00:08Z")
    assert asked(database, idle()).oldest == 8_000_000
    fill_ahead = asked(database, FakeBroker({(BANK, 0): (9, [b"1"])}))
    assert fill_ahead.oldest == 9_000_000, "what retention removed cannot be asked"


def test_gaps_of_the_numbering_are_named_and_rejects_may_fill_them(database):
    fill(database, BALANCED)
    with database.begin() as uow:
        uow.stream.sequences(0, {("main", "core"): np.array([1, 2, 6]), ("main", "swift"): np.array([1, 3])})
    report = asked(database, idle())
    assert report.gaps[0]["ranges"] == [[3, 5]] and report.gaps[0]["missing"] == 3
    assert report.faults == ["main, swift: 1 numbers of source_sequence never came, first 2"]
    assert report.alarms == [
        "main, core: 3 numbers of source_sequence never came, first 3 to 5; 3 of its records were rejected"
    ]


def volumes(yesterday, *past):
    """Counts of the day before the test clock's day and of the same weekday of weeks before."""
    day = dt.date(2023, 11, 13)
    days = {day: yesterday} | {day - dt.timedelta(weeks=week): number for week, number in enumerate(past, 1)}
    counts = {}
    for date, number in days.items():
        counts |= {key(outcome, day=date.isoformat()): number for outcome in ("consumed", "scored")}
    return counts


@pytest.mark.parametrize(
    ("counts", "alarms"),
    [
        (volumes(0, 1000, 1010, 990), ["main, core: is silent: 0 elements on 2023-11-13, some 1,000 on"]),
        (volumes(1100, 1000, 1000, 1000), ["main, core: is far from its usual volume: 1,100 elements"]),
        (volumes(1090, 1000, 1000, 1000), []),
        (volumes(1100, 1000, 1200, 1400), []),
        (volumes(0, 1000, 1010), []),
    ],
)  # fmt: skip
def test_a_feed_far_from_its_weekday_is_alarmed(database, counts, alarms):
    fill(database, counts)
    report = asked(database, idle())
    assert report.reconciles
    assert [line[: len(alarm)] for line, alarm in zip(report.alarms, alarms, strict=True)] == alarms
    assert len(report.silent) == len(alarms)


def test_reused_ids_and_what_came_too_late_are_alarmed(database):
    fill(database, {key("consumed"): 4, key("rejected:too_late"): 4})
    with database.begin() as uow:
        uow.stream.reused([ReusedId("main", "T1", BANK, 0, 5, 0, 1)])
    report = asked(database, idle())
    assert report.reconciles and report.reused == 1
    assert report.reused_shown[0]["transaction_id"] == "T1"
    assert [line.partition(" ")[0] for line in report.alarms] == ["1", "4"]


OUTCOMES = st.sampled_from(["scored", "duplicate", "rejected:not_json", "rejected:too_late"])
ELEMENTS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["a", "b"]), st.sampled_from([DAY, "2023-11-13"]), OUTCOMES),
    min_size=1,
    max_size=30,
)


@given(ELEMENTS, st.data())
def test_every_single_element_that_is_lost_is_found(elements, data):
    """Counted one by one at random shards it adds up; without any one of them, or with one twice, it does not."""
    database = open_database("sqlite://", clock=Clock())
    with database.begin() as uow:
        uow.stream.begin(SHARDS)
        uow.stream.sources([SourceRow(BANK, p, 0, 0, 3, 0, True, 0) for p in range(3)])
        for partition, source, day, outcome in elements:
            shard = data.draw(st.integers(0, SHARDS - 1))
            uow.stream.count(partition % SHARDS, {key("consumed", partition, day, source): 1})
            uow.stream.count(shard, {key(outcome, partition, day, source): 1})
    broker = FakeBroker()
    assert asked(database, broker).reconciles
    partition, source, day, outcome = data.draw(st.sampled_from(elements))
    with database.begin() as uow:
        uow.stream.count(0, {key(outcome, partition, day, source): data.draw(st.sampled_from([-1, 1]))})
    (fault,) = asked(database, broker).faults
    assert fault.startswith(f"{BANK}[{partition}], main, {source}, {day}: elements ")
    database.close()
