"""Publishing a feed without a broker: what is sent, at which pace, from where after a stop, and what manifests say."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml.domain.errors import AmlError
from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.stream.decode import Decoder, Message
from aml.stream.pacing import SPAN, Pacer, cut
from aml.stream.packing import LARGEST, Key, Packer, unreadable
from aml.stream.publish import PublishSettings, Topics, publish
from tests.factories import NOW, csv, ndjson, rejects, transactions, txn
from tests.unit.test_feed_poison import POISON

BANK = "aml.transactions.v1"
TOPICS = Topics(BANK, "aml.parties.v1", "aml.manifests.v1", "id-1", 3)
TERMS = Terms(BANK, "main", 0, "USD", NO_RATES)


class Killed(BaseException):
    """The process's end."""


class Log:
    """A broker's topics; it may take so many messages and then end the publisher."""

    def __init__(self, most: int | None = None) -> None:
        self.sent: list[tuple[str, bytes | None, int | None, bytes, tuple]] = []
        self.most, self.answers = most, True

    def send(self, topic, value, *, key=None, partition=None, headers=()):
        if self.most is not None and len(self.sent) >= self.most:
            raise Killed
        self.sent.append((topic, key, partition, value, tuple(headers)))

    def flush(self, seconds):
        return self.answers

    def close(self):
        pass

    def values(self, topic=BANK):
        return [one[3] for one in self.sent if one[0] == topic]

    def messages(self):
        return [Message(BANK, 0, n, NOW, m[1], m[3], m[4]) for n, m in enumerate(self.sent) if m[0] == BANK]


def hashed(key: bytes) -> int:
    return sum(key)


def run(feed, log, tmp_path, *, stop=lambda: False, pacer=None, topics=TOPICS, **asked):
    feeds = tuple(map(str, feed if isinstance(feed, tuple) else (feed,)))
    return publish(PublishSettings(feeds, tmp_path / "state", **asked), topics, log, hashed, stop, pacer=pacer)


def records(n, **fields):
    at = [f"2026-03-02T{k // 60 % 24:02}:{k % 60:02}:00Z" for k in range(n)]
    each = enumerate(at)
    return [txn(transaction_id=f"T{k:04}", originator_account=f"A{k % 7}", executed_at=t, **fields) for k, t in each]


def ids(values):
    return [json.loads(line)["transaction_id"] for value in values for line in value.split(b"\n")]


def names(feed):
    return [row["transaction_id"] for row in feed]


def test_batches_hold_so_many_and_take_the_partitions_in_turn(tmp_path):
    log, feed = Log(), records(25)
    done = run(ndjson(tmp_path / "f.ndjson", feed), log, tmp_path, batch=10)
    assert (done.records, done.messages, done.manifests) == (25, 4, 1)
    assert [len(value.split(b"\n")) for value in log.values()] == [10, 10, 5]
    assert ids(log.values()) == names(feed)
    assert [one[1:3] for one in log.sent[:3]] == [(None, 1), (None, 2), (None, 0)]


@pytest.mark.parametrize(
    ("key", "field"), [("account", "originator_account"), ("id", "transaction_id"), ("none", None)]
)
def test_singles_bear_their_key(tmp_path, key, field):
    log = Log()
    run(
        ndjson(tmp_path / "f.ndjson", [*records(5), txn(originator_account=None)]), log, tmp_path, batch=0, key=Key(key)
    )
    for _, told, partition, value, headers in log.sent[:6]:
        wanted = json.loads(value).get(field)
        assert (told, headers) == (None if wanted is None else wanted.encode(), ())
        assert (partition is None) == (told is not None)


def test_batches_with_a_key_keep_its_records_in_one_partition_in_order(tmp_path):
    log, feed = Log(), records(200)
    run(ndjson(tmp_path / "f.ndjson", feed), log, tmp_path, batch=10, key=Key.ACCOUNT)
    where: dict[str, set[int]] = {}
    order: dict[str, list[str]] = {}
    for topic, told, partition, value, _ in log.sent:
        if topic == BANK:
            assert told is None
            for line in map(json.loads, value.split(b"\n")):
                where.setdefault(line["originator_account"], set()).add(partition)
                order.setdefault(line["originator_account"], []).append(line["transaction_id"])
    assert all(len(places) == 1 for places in where.values())
    assert {partition for places in where.values() for partition in places} == {0, 1, 2}
    assert all(found == sorted(found) for found in order.values())
    assert Counter(ids(log.values())) == Counter(names(feed))


def test_a_batch_is_never_larger_than_what_brokers_take(tmp_path):
    log, feed = Log(), records(40, purpose="é" * 30_000)
    feed[20]["purpose"] = "x" * 2_000_000
    run(ndjson(tmp_path / "f.ndjson", feed), log, tmp_path, batch=500)
    assert ids(log.values()) == names(feed)
    assert sorted(len(v) > LARGEST for v in log.values())[-2:] == [False, True]


def test_files_are_sent_in_order_of_time_unless_as_they_are(tmp_path):
    feed = records(30)[::-1]
    path = ndjson(tmp_path / "f.ndjson", feed)
    sorted_, as_is = Log(), Log()
    run(path, sorted_, tmp_path, batch=7)
    run(path, as_is, tmp_path, batch=7, as_arrived=True)
    assert ids(sorted_.values()) == names(feed)[::-1]
    assert ids(as_is.values()) == names(feed)


BAD = [bad for _, bad, _ in POISON if len(bad) < 10_000 and b"\n" not in bad]


@pytest.mark.parametrize(
    "bad", [*BAD, b'[{"transaction_id":"T1"}]', b'{"specversion":"1.0","data":{}}', b'"a\tb",\xff']
)
def test_what_cannot_be_read_is_one_reject_at_the_intake(bad):
    found = Decoder(TERMS).decode([Message(BANK, 0, 0, NOW, None, unreadable(bad))])
    (reject,) = found.rejects
    assert found.rows.height == 0
    assert reject.original == bad or json.loads(reject.original) == bad.decode("utf-8", "backslashreplace")


def whole(**fields):
    return json.dumps(txn(**fields)).encode()


READABLE_OTHERWISE = [
    b"[" + whole() + b"," + whole(transaction_id="T2") + b"]",
    b'{"specversion":"1.0","source":"/x","data":' + whole() + b"}",
    b"\0\0\0\0\7" + whole(),
    b"\xef\xbb\xbf" + whole(),
]


@pytest.mark.parametrize("line", READABLE_OTHERWISE)
def test_a_line_that_only_an_intake_could_read_is_rejected_there_as_by_aml_run(tmp_path, line):
    path = ndjson(tmp_path / "f.ndjson", [txn(transaction_id="T0"), line, txn(transaction_id="T9")])
    assert len(rejects(path)) == 1
    log = Log()
    done = run(path, log, tmp_path)
    found = Decoder(TERMS).decode(log.messages())
    assert (done.records, done.rejects) == (2, 1)
    assert found.rows["transaction_id"].to_list() == ["T0", "T9"]
    assert [(r.source, json.loads(r.original)) for r in found.rejects] == [
        ("f.ndjson", line.decode("utf-8", "backslashreplace"))
    ]


def test_a_line_of_a_csv_that_is_json_or_spans_lines_counts_once(tmp_path):
    path = csv(
        tmp_path / "f.csv", [txn(transaction_id="T1", memo="x"), txn(transaction_id="T2", amount="-1", memo="a\nb\nc")]
    )
    log = Log()
    done = run(path, log, tmp_path)
    found = Decoder(TERMS).decode(log.messages())
    assert (done.records, done.rejects, found.rows.height, len(found.rejects)) == (1, 1, 1, 1)
    assert "T2" in json.loads(found.rejects[0].original)


def test_what_depends_on_clock_or_rates_is_left_to_the_intake(tmp_path):
    feed = [txn(transaction_id="F", executed_at="2031-01-01T00:00:00Z"), txn(transaction_id="E", currency="EUR")]
    log = Log()
    done = run(ndjson(tmp_path / "f.ndjson", feed), log, tmp_path)
    assert (done.records, done.rejects) == (2, 0)
    assert sorted(r.code for r in Decoder(TERMS).decode(log.messages()).rejects) == ["no_rate", "time_in_future"]


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=30), st.floats(0.5, 5000), st.booleans())
def test_the_pace_is_kept_by_any_clock(steps, pace, by_time):
    at = np.cumsum(np.array(steps, np.int64)) + 1_772_000_000_000_000
    now, slept = [100.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    pacer = Pacer(*((None, pace) if by_time else (pace, None)), clock=lambda: now[0], sleep=sleep)
    due = np.concatenate([pacer.due(at[:4]), pacer.due(at[4:])])
    assert (np.diff(due) >= 0).all()
    wanted = (at - at[0]) / (1e6 * pace) if by_time else np.arange(at.size) / pace
    assert np.allclose(due, wanted)
    for one in due.tolist():
        assert pacer.wait(one, lambda: False)
        assert now[0] >= 100.0 + one - due[0] - 1e-6
    assert now[0] <= 100.0 + due[-1] - due[0] + 1e-6
    assert all(0 < seconds <= 0.2 for seconds in slept)
    pieces = cut(due, 5)
    assert [first for first, _ in pieces] == [0, *(past for _, past in pieces[:-1])] and pieces[-1][1] == due.size
    assert all(past - first <= 5 and due[past - 1] <= due[first] + SPAN for first, past in pieces)


def test_what_was_missed_is_not_made_up_for_in_a_burst():
    now = [0.0]
    pacer = Pacer(10.0, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    due = pacer.due(np.zeros(1000, np.int64))
    pacer.wait(float(due[0]), lambda: False)
    now[0] = 60.0  # the broker was away for a minute
    for one in due[1:101].tolist():
        pacer.wait(one, lambda: False)
    assert now[0] == pytest.approx(60.0 + 9.0, abs=0.2)


def test_records_without_a_time_go_with_what_comes_before_them():
    assert Pacer(None, 1.0).due(np.array([5_000_000, -1, 7_000_000, -1])).tolist() == [0.0, 0.0, 2.0, 2.0]


@given(st.integers(0, 14), st.integers(0, 14), st.sampled_from([0, 1, 3, 50]), st.sampled_from(list(Key)))
def test_whatever_ends_it_all_is_sent_and_only_a_piece_twice(tmp_path_factory, first, second, batch, key):
    tmp_path = tmp_path_factory.mktemp("publish")
    feed = records(40)
    lines = [*feed[:10], b"poison 1", *feed[10:30], b"poison 2", *feed[30:]]
    path = ndjson(tmp_path / "f.ndjson", lines)
    every: list[bytes] = []
    for most in (first, second, None):
        log = Log(most)
        try:
            # Two records are a piece.
            done = run(path, log, tmp_path, batch=batch, key=key, pacer=Pacer(8.0, sleep=lambda _: None, clock=Ticks()))
        except Killed:
            every += log.values()
            continue
        every += log.values()
        break
    assert done.skipped + done.records + done.rejects == 42
    sent = Counter(line for value in every for line in value.split(b"\n"))
    assert {json.loads(line)["transaction_id"] for line in sent if line[:1] == b"{"} == set(names(feed))
    assert {b"poison 1", b"poison 2"} <= set(sent)
    (manifest,) = map(json.loads, log.values("aml.manifests.v1"))
    assert (manifest["records"], manifest["sums"]) == (40, {"USD": 400_000})


class Ticks:
    """A clock that is a second further each time: positions are noted at once."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_what_was_published_whole_is_sent_again_only_when_asked(tmp_path):
    path = ndjson(tmp_path / "f.ndjson", records(12))
    run(path, Log(), tmp_path)
    log = Log()
    done = run(path, log, tmp_path)
    assert (done.finished_before, done.skipped, log.sent) == (True, 12, [])
    assert run(path, log, tmp_path, again=True).records == 12
    other = Topics(BANK, "p", "m", "id-2", 3)
    assert run(path, Log(), tmp_path, topics=other).records == 12, "a topic that was made anew holds nothing"
    ndjson(path, records(13))
    assert run(path, Log(), tmp_path).records == 13


def test_told_to_stop_it_ends_acknowledged_and_goes_on_there(tmp_path):
    path = ndjson(tmp_path / "f.ndjson", records(50))
    log = Log()
    done = run(path, log, tmp_path, batch=5, stop=lambda: len(log.sent) >= 3, pacer=Pacer(5.0, sleep=lambda _: None))
    assert done.stopped and 0 < done.records < 50 and done.manifests == 0
    rest = Log()
    again = run(path, rest, tmp_path, batch=5)
    assert (again.skipped, again.skipped + again.records) == (done.records, 50)
    assert ids(log.values() + rest.values()) == names(records(50))


def test_a_broker_that_takes_nothing_is_waited_for_until_told_to_stop(tmp_path):
    log, asked = Log(), []
    log.answers = False
    done = run(ndjson(tmp_path / "f.ndjson", records(5)), log, tmp_path, stop=lambda: asked.append(1) or len(asked) > 5)
    assert done.stopped and done.records == 0
    log.answers = True
    assert run(tmp_path / "f.ndjson", Log(), tmp_path).records == 5


def test_two_processes_do_not_publish_the_same_at_once(tmp_path):
    path = ndjson(tmp_path / "f.ndjson", records(5))

    class Second(Log):
        def send(self, *_, **__):
            run(path, Log(), tmp_path)

    with pytest.raises(
        AmlError, match=r"another process publishes it to aml\.transactions\.v1: wait for it, or stop it"
    ):
        run(path, Second(), tmp_path)


def test_a_damaged_position_is_named(tmp_path):
    path = ndjson(tmp_path / "f.ndjson", records(5))
    run(path, Log(), tmp_path)
    (note,) = (tmp_path / "state" / "published").glob("*.json")
    note.write_bytes(b"{")
    with pytest.raises(AmlError, match="remove it to publish the feed from its start"):
        run(path, Log(), tmp_path)


def told(log):
    return list(map(json.loads, log.values("aml.manifests.v1")))


@pytest.mark.parametrize("hourly", [False, True])
def test_manifests_say_what_was_sent_of_each_source_and_of_what_has_no_time(tmp_path, hourly):
    feed = [
        *records(90),
        *records(3, source="swift", currency="JPY", amount="7"),
        txn(transaction_id="V", void=True, executed_at=None),
        txn(transaction_id="X", institution="other", amount="9" * 15 + ".00", currency="EUR"),
        b"poison",
    ]
    log = Log()
    path = ndjson(tmp_path / "f.ndjson", feed)
    run(path, log, tmp_path, batch=7, hourly=hourly)
    found = told(log)
    sums: Counter[tuple[str, str, str]] = Counter()
    for one in found:
        sums.update({(one["institution"], one["source"], c): v for c, v in one["sums"].items()})
    assert sums == {
        ("main", "f.ndjson", "USD"): 91 * 10_000,
        ("main", "swift", "JPY"): 21,
        ("other", "f.ndjson", "EUR"): 99999999999999900,
    }
    hours = {(m["institution"], m["source"], m["first_hour"], m["last_hour"], m["records"]) for m in found}
    midnight, one = "2026-03-02T00", "2026-03-02T01"
    spans = {(midnight, midnight, 60), (one, one, 30)} if hourly else {(midnight, one, 90)}
    assert hours == {
        *(("main", "f.ndjson", *span) for span in spans),
        ("main", "swift", midnight, midnight, 3),
        ("main", "f.ndjson", "", "", 1),
        ("other", "f.ndjson", "2026-03-02T09", "2026-03-02T09", 1),
    }
    names_of = {m["manifest"] for m in found if (m["institution"], m["source"]) == ("main", "f.ndjson")}
    assert len(names_of) == len(spans) + 1
    assert [one[1] for one in log.sent if one[0] == "aml.manifests.v1"] == [
        json.dumps([m["institution"], m["source"], m["manifest"]], separators=(",", ":")).encode() for m in found
    ]


def test_the_same_feed_gives_the_same_manifest_however_it_was_packed_or_stopped(tmp_path):
    path = ndjson(tmp_path / "f.ndjson", records(60))
    kept = []
    for n, (batch, key) in enumerate([(7, Key.NONE), (0, Key.ID), (500, Key.ACCOUNT)]):
        log, state = Log(4), tmp_path / str(n)
        state.mkdir()
        for most in (4, None):
            log = Log(most)
            try:
                run(path, log, state, batch=batch, key=key, pacer=Pacer(20.0, sleep=lambda _: None))
            except Killed:
                continue
        kept += [{k: v for k, v in m.items() if k != "sent_at"} for m in told(log)]
    assert len(kept) == 3 and kept[0] == kept[1] == kept[2]
    lines = b"".join(line + b"\n" for line in Path(path).read_bytes().splitlines())
    assert lines.count(b"\n") == kept[0]["records"]


def test_parties_go_first_and_once(tmp_path):
    table = tmp_path / "parties.csv"
    table.write_text("account,customer,role,valid_from\nA1,C1,joint,2026-01-01\nA1,C2,joint,2026-01-01\n")
    log, path = Log(), ndjson(tmp_path / "f.ndjson", records(3))
    done = run(path, log, tmp_path, parties=table)
    assert done.parties == 2
    assert [one[0] for one in log.sent[:3]] == ["aml.parties.v1", "aml.parties.v1", BANK]
    assert len({one[1] for one in log.sent[:2]}) == 2
    assert [json.loads(v)["customer"] for v in log.values("aml.parties.v1")] == ["C1", "C2"]


def test_several_files_go_as_one_stream_with_a_manifest_each(tmp_path):
    feed = records(20)
    paths = ndjson(tmp_path / "a.ndjson", feed[::2]), ndjson(tmp_path / "b.ndjson", feed[1::2])
    log = Log()
    run(paths, log, tmp_path, batch=6)
    assert ids(log.values()) == names(feed)
    assert [(m["source"], m["records"]) for m in told(log)] == [("a.ndjson", 10), ("b.ndjson", 10)]


def test_the_feed_is_what_the_intake_reads_whatever_its_packing(tmp_path):
    path = ndjson(tmp_path / "f.ndjson", records(30, purpose='say "x"\n', memo={"a": 1}))
    wanted = transactions(path).drop("place").sort("transaction_id")
    for batch, key in ((4, Key.NONE), (0, Key.BENEFICIARY), (9, Key.ID)):
        log = Log()
        run(path, log, tmp_path, batch=batch, key=key, again=True)
        found = Decoder(TERMS).decode(log.messages()).rows
        assert found.select(wanted.columns).sort("transaction_id").equals(wanted)


def test_packing_nothing_gives_nothing():
    assert list(Packer(5, Key.NONE, 1, hashed).messages(pl.DataFrame(), pl.Series("line", [], pl.String))) == []
