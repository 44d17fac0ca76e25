"""Dead letters go out again as the bank sent them, or what is kept of them, once each, and are noted."""

from __future__ import annotations

from contextlib import suppress

import pytest

from aml.store.dead_letters import DeadLetter, list_dead_letters, load_dead_letter, of_stream, stream_letters
from aml.stream.peek import Message
from aml.stream.replay import REPLAY, replay, replayed_object

BANK = "aml.transactions.v1"
HEADERS = (("ce_id", b"7"), (REPLAY, b"old:0:0"))


class Broker:
    """A topic that holds offsets [first, end) of each partition; who reads others than asked fails."""

    def __init__(self, first=0, end=1000):
        self.first, self.end, self.reads = first, end, []

    def ends(self, topic):
        return {0: (self.first, self.end), 1: (self.first, self.end)} if topic == BANK else {}

    def read(self, spans, take, most, seconds):
        for place, (first, end) in spans.items():
            assert self.first <= first < end <= self.end
            self.reads.append((first, end))
            for offset in range(first, end):
                take(Message(*place, offset, 5, b"key", b"value %d" % offset, HEADERS))
        return {}


class Producer:
    def __init__(self, fails=False):
        self.fails, self.sent = fails, []

    def send(self, topic, value, *, key, headers):
        self.sent.append((topic, key, value, headers))

    def flush(self):
        if self.fails:
            raise ConnectionError("away")


def letter(offset, element=0, code="not_json", original=b"{", partition=0):
    return of_stream("main", BANK, partition, offset, element, code, "why", original)


def put(database, *letters):
    with database.begin() as uow:
        return uow.dead_letters.add(letters)


def nothing(message):
    return {}


def replayed_at(database):
    with database.read() as connection:
        return {row.dead_letter_id: row.replayed_at for row in list_dead_letters(connection)}


def test_a_letter_knows_where_it_stood_and_is_kept_once(database):
    assert put(database, letter(5, 2), letter(5, 3)) == 2
    assert put(database, letter(5, 2)) == 0
    with database.read() as connection:
        row = load_dead_letter(connection, 1)
    assert (row.topic, row.partition, row.message_offset, row.element) == (BANK, 0, 5, 2)
    assert (row.source, row.place, row.replayed_at) == (f"{BANK}[0]", (5 << 20) + 2, None)


def test_a_message_goes_out_once_as_it_was_for_all_its_letters(database, clock):
    put(database, letter(5, 2), letter(5, 7), letter(9, code="too_late"))
    producer = Producer()
    told = list(replay(database, Broker(), producer, nothing))
    assert producer.sent == [
        (BANK, b"key", b"value 5", [("ce_id", b"7"), (REPLAY, f"{BANK}:0:5".encode())]),
        (BANK, b"key", b"value 9", [("ce_id", b"7"), (REPLAY, f"{BANK}:0:9".encode())]),
    ]
    assert [(one.letter.dead_letter_id, one.sent, one.whole) for one in told] == [(n, True, True) for n in (1, 2, 3)]
    assert replayed_at(database) == dict.fromkeys((1, 2, 3), clock.now)


def test_what_was_replayed_goes_out_again_only_if_asked(database, clock):
    put(database, letter(5), letter(6))
    list(replay(database, Broker(), Producer(), nothing, ids=[1]))
    assert [one.letter.dead_letter_id for one in replay(database, Broker(), None, nothing)] == [2]
    clock.now += 1
    assert len(list(replay(database, Broker(), producer := Producer(), nothing, again=True))) == 2
    assert len(producer.sent) == 2
    assert replayed_at(database) == dict.fromkeys((1, 2), clock.now)
    assert len(list(replay(database, Broker(), None, nothing, ids=[1]))) == 1


def test_a_code_chooses(database):
    put(database, letter(5), letter(6, code="too_late"))
    assert [one.letter.offset for one in replay(database, Broker(), None, nothing, code="too_late")] == [6]


def test_letters_of_files_are_left_alone(database):
    put(database, DeadLetter("main", "feed.csv", 3, "not_json", "why", b"{"))
    assert list(replay(database, Broker(), Producer(), nothing)) == []


def test_a_dry_run_tells_what_would_become_and_changes_nothing(database):
    put(database, letter(5, 2), letter(5, 3))

    def judge(message):
        assert message.value == b"value 5"
        return {3: ("bad_amount", "amount: no number")}

    told = [replayed_object(one) for one in replay(database, Broker(), None, judge)]
    assert [(one["element"], one["code_now"], one["detail_now"]) for one in told] == [
        (2, None, None),
        (3, "bad_amount", "amount: no number"),
    ]
    assert set(replayed_at(database).values()) == {None}


def test_what_the_topic_no_longer_holds_goes_out_from_what_is_kept(database):
    put(database, letter(5, 2, original=b'{"a":1}'), letter(5, 3, original=b'{"a":2}'), letter(5, 4, original=b""))
    judged = []

    def judge(message):
        judged.append(message.value)
        return {0: ("bad", "still")} if message.value == b'{"a":2}' else {}

    producer = Producer()
    told = list(replay(database, Broker(first=6), producer, judge))
    mark = [(REPLAY, f"{BANK}:0:5".encode())]
    assert producer.sent == [(BANK, None, b'{"a":1}', mark), (BANK, None, b'{"a":2}', mark)]
    assert [(one.sent, one.whole, one.code) for one in told] == [
        (True, False, None),
        (True, False, "bad"),
        (False, False, None),
    ]
    assert [at is None for _, at in sorted(replayed_at(database).items())] == [False, False, True]


def test_what_the_broker_did_not_acknowledge_is_not_noted(database):
    put(database, letter(5))
    with pytest.raises(ConnectionError):
        list(replay(database, Broker(), Producer(fails=True), nothing))
    assert replayed_at(database) == {1: None}


def test_many_go_by_the_hundreds_and_each_that_is_noted_was_sent(database):
    put(database, *(letter(offset, partition=offset % 2) for offset in range(0, 900)))

    class Breaks(Producer):
        def flush(self):
            if len(self.sent) > 500:
                raise ConnectionError

    with suppress(ConnectionError):
        list(replay(database, Broker(), Breaks(), nothing))
    assert sum(at is not None for at in _all(database).values()) == 500
    producer = Producer()
    list(replay(database, Broker(), producer, nothing))
    assert len(producer.sent) == 400
    assert None not in _all(database).values()


def _all(database):
    with database.read() as connection:
        return {row.dead_letter_id: row.replayed_at for row in stream_letters(connection, None, (), True, 0, 5000)}


def test_offsets_far_apart_are_not_read_through(database):
    put(database, letter(5), letter(60), letter(700))
    broker = Broker()
    list(replay(database, broker, None, nothing))
    assert broker.reads == [(5, 61), (700, 701)]
