"""`aml topics apply` on a cluster whose brokers learn of a topic later than it was accepted."""

from __future__ import annotations

from typing import Any

import pytest

from aml.domain.errors import AmlError
from aml.stream import topics
from aml.stream.contract import load_contracts
from aml.stream.settings import load_stream_settings
from aml.stream.topics import Topics


class SlowAdmin:
    """Shows what was made and set only after so many looks."""

    def __init__(self, looks: float) -> None:
        self.looks = looks
        self.taken: dict[str, Any] = {}

    @property
    def shown(self) -> dict[str, Any]:
        return self.taken if self.looks <= 0 else {}

    def create_topics(self, new: list[Any]) -> None:
        for one in new:
            self.taken[one.name] = one

    def describe_topics(self) -> list[dict[str, Any]]:
        self.looks -= 1
        return [{"name": name, "partitions": [None] * one.num_partitions} for name, one in self.shown.items()]

    def describe_configs(self, asked: list[Any], config_filter: str) -> dict[int, Any]:
        return {0: {one.name: {k: {"value": v} for k, v in self.shown[one.name].topic_configs.items()}
                    for one in asked}}  # fmt: skip


def topics_of(admin: SlowAdmin) -> Topics:
    return Topics(load_stream_settings({}), load_contracts(), admin)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_LOOK_AGAIN_S", 0.001)
    monkeypatch.setattr(topics, "_TIMEOUT_MS", 200)


def test_apply_ends_when_the_brokers_show_what_was_made():
    mine = topics_of(SlowAdmin(looks=4))
    assert all(one.did == ("made",) for one in mine.apply(shards=3, replication=-1))
    assert not any(one.faults for one in mine.check())


def test_a_cluster_that_never_shows_a_topic_is_named():
    with pytest.raises(AmlError, match=r"took aml\.alerts\.v1 and does not show it: look at the controller's log"):
        topics_of(SlowAdmin(looks=float("inf"))).apply(shards=3, replication=-1)


def test_a_dry_run_waits_for_nothing():
    admin = SlowAdmin(looks=float("inf"))
    assert all(one.did == ("made",) for one in topics_of(admin).apply(3, -1, dry_run=True))
    assert admin.taken == {}
