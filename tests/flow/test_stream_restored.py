"""A database older than its topics: letters tell of payments that their homes read again only later."""

from __future__ import annotations

import time
from pathlib import Path

from aml.detect.profile import load_profile
from aml.feed.parties import read_parties
from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.pipeline.inforce import load_judgement
from aml.pipeline.parties import Parties, PartyRows
from aml.pipeline.resolved import resolve
from aml.pipeline.watermark import LATENESS
from aml.stream.block import unpack_block
from aml.stream.decode import Decoder, Message
from aml.stream.intake import Assigned, IntakeCore
from aml.stream.mail import bundled, unpack_letters
from aml.stream.shard import Shard, ShardTerms
from aml.stream.takeover import LEGS, RECORDS, take_over
from tests.flow_factory import invented
from tests.stream_world import TOPIC, Store, Topics

SHARDS, BATCH = 3, 100


def test_findings_and_evidence_are_whole_where_letters_are_read_before_legs(tmp_path):
    topics, first = filled(tmp_path), Store(SHARDS)
    consume(first, topics, tmp_path / "before", letters_at_once=1)
    assert len(first.findings) > 20
    again = Store(SHARDS)  # the backup of a database that had nothing yet
    consume(again, topics, tmp_path / "after", letters_at_once=1_000)
    assert again.findings == first.findings
    named = {name for finding in first.findings.values() for name in finding.transaction_ids}
    assert sorted(named - first.evidence) == []
    assert sorted(named - again.evidence) == []


def filled(folder: Path) -> Topics:
    """The topic of legs with a bank's payments."""
    bank = invented(4_000, days=60, seed=5, attempts=60)
    bank.parties.write_csv(folder / "parties.csv")
    bank.transactions.write_ndjson(folder / "feed.ndjson")
    profile, now = load_profile("us"), time.time_ns() // 1000
    parties = Parties(read_parties(folder / "parties.csv", "main"), PartyRows())
    core = IntakeCore(
        "one", SHARDS, Decoder(Terms(TOPIC, "main", now, "USD", NO_RATES)),
        lambda frame: resolve(frame, profile, parties, SHARDS),
    )  # fmt: skip
    core.assign({(TOPIC, 0): 0})
    topics, lines = Topics(SHARDS), (folder / "feed.ndjson").read_bytes().splitlines()
    for number, at in enumerate(range(0, len(lines), BATCH)):
        core.take([Message(TOPIC, 0, number, now, None, b"\n".join(lines[at : at + BATCH]))])
        for shard, block in enumerate(core.flush(now, {(TOPIC, 0): Assigned(1, False)}).blocks):
            topics.send(LEGS, shard, block)
    return topics


def consume(store: Store, topics: Topics, folder: Path, letters_at_once: int) -> None:
    """New owners of all shards, until nothing is left; a step takes one block and so many messages of letters."""
    judgement, now, held = load_judgement("us", None), time.time_ns() // 1000, dict[int, Shard]()
    for number in range(SHARDS):
        place = folder / str(number)
        place.mkdir(parents=True)
        terms = ShardTerms(number, SHARDS, judgement, LATENESS, place)
        held[number] = take_over(terms, "db", store.own, topics, now, lambda _: None)
    while True:
        steps = []
        for number, shard in held.items():
            legs, records = (topics.logs[kind][number] for kind in (LEGS, RECORDS))
            last = shard.at[1] + letters_at_once if shard.hears else shard.at[1]
            blocks = [(n, unpack_block(v)) for n, v in enumerate(legs) if shard.at[0] == n]
            letters = [(n, unpack_letters(v)) for n, v in enumerate(records) if shard.at[1] <= n < last]
            if blocks or letters:
                steps.append(shard.step(blocks, letters, now))
        if not steps:
            return
        for to, message in bundled(letter for step in steps for letter in step.letters):
            topics.send(RECORDS, to, message)
        assert not store.commit(steps)
