"""Makes and checks topics by their contracts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from aml.domain.errors import AmlError
from aml.stream.client import unreachable
from aml.stream.contract import SHARDS, Contract
from aml.stream.kafkapython import common_settings
from aml.stream.knock import knock
from aml.stream.settings import INTAKES, WORKERS, StreamSettings

_TIMEOUT_MS: Final = 15_000
_LOOK_AGAIN_S: Final = 0.05
_SESSION_S: Final = 15.0  # a little longer than a member may be silent


@dataclass(frozen=True, slots=True)
class Held:
    """A topic as the brokers have it."""

    partitions: int
    configs: dict[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to say of a topic. did: what was done; faults: what is not as the contract says, with the mend."""

    topic: str
    partitions: int
    did: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


class Topics:
    """The topics of one deployment."""

    def __init__(self, settings: StreamSettings, contracts: Sequence[Contract], admin: Any) -> None:
        self._settings, self._contracts, self._admin = settings, contracts, admin

    def name(self, contract: Contract) -> str:
        """What the topic is called here."""
        return self._settings.topic(contract.topic)

    def apply(self, shards: int, replication: int, dry_run: bool = False) -> list[Told]:
        """Make what is missing, and give what is there the configs it lacks. replication: -1 is the brokers' default.

        Partitions of a topic that is there stay as they are. Ends when the brokers show what was done: a cluster
        accepts a topic some moments before each broker knows it. Raises AmlError where they refuse or do not show it.
        """
        told = self._apply(shards, replication, dry_run)
        if not dry_run and any(one.did for one in told):
            self._wait()
        return told

    def _apply(self, shards: int, replication: int, dry_run: bool) -> list[Told]:
        held = self._held()
        told = []
        for contract in self._contracts:
            name = self.name(contract)
            if name not in held:
                partitions = shards if contract.partitions == SHARDS else int(contract.partitions)
                if not dry_run:
                    self._make(name, partitions, replication, contract)
                told.append(Told(name, partitions, ("made",)))
                continue
            lacking = contract.lacking(held[name].configs)
            if lacking and not dry_run:
                self._set(name, lacking)
            told.append(Told(name, held[name].partitions, tuple(f"{k} = {v}" for k, v in sorted(lacking.items()))))
        return told

    def brokers(self) -> str:
        """How many brokers there are, for people."""
        number = len(self._admin.describe_cluster()["brokers"])
        return f"{number} broker{'' if number == 1 else 's'}"

    def controller_time(self) -> float | None:
        """What time it is at the broker that leads the cluster, seconds since 1970; None where it does not say."""
        from kafka.errors import KafkaError

        try:
            (topic,) = self._admin.describe_metadata_quorum()["topics"]
        except (KafkaError, NotImplementedError):
            return None  # no right to ask, or a cluster that has no such thing
        (partition,) = topic["partitions"]
        led = [one for one in partition["current_voters"] if one["replica_id"] == partition["leader_id"]]
        at = max((one.get("last_caught_up_timestamp", -1) for one in led), default=-1)
        return at / 1000 if at > 0 else None

    def check(self) -> list[Told]:
        """Every topic against its contract."""
        held = self._held()
        inner = {c.topic: held[self.name(c)].partitions for c in self._contracts
                 if c.partitions == SHARDS and self.name(c) in held}  # fmt: skip
        told = []
        for contract in self._contracts:
            name = self.name(contract)
            if name not in held:
                told.append(Told(name, 0, (), ("is not there: `aml topics apply` makes it",)))
                continue
            faults = [
                f"{config} is {held[name].configs.get(config)}, must be {wanted}: `aml topics apply` sets it"
                for config, wanted in sorted(contract.lacking(held[name].configs).items())
            ]
            if contract.partitions == SHARDS and len(set(inner.values())) > 1:
                counts = ", ".join(f"{topic} {n}" for topic, n in sorted(inner.items()))
                faults.append(
                    f"the internal topics must have as many partitions each ({counts}): remove the emptier one, and "
                    "`aml topics apply` makes it again"
                )
            told.append(Told(name, held[name].partitions, (), tuple(faults)))
        return told

    def members(self) -> list[str]:
        """Who works in the groups of intakes and workers, as soon as those that ended have left them.

        A static member that ended stays in its group for the time of a session.
        """
        groups = [self._settings.group(name) for name in (INTAKES, WORKERS)]
        until = time.monotonic() + _SESSION_S
        while True:
            found = self._admin.describe_groups(groups).values()
            names = sorted(one["group_instance_id"] or one["member_id"] for group in found for one in group["members"])
            if not names or time.monotonic() > until:
                return names
            time.sleep(_LOOK_AGAIN_S)

    def renew(self, shards: int) -> None:
        """Make the topics of the shards anew, empty, with so many partitions and as many copies as they had.

        Raises AmlError where the brokers do not.
        """
        inner = [self.name(contract) for contract in self._contracts if contract.partitions == SHARDS]
        there = {one["name"]: one for one in self._admin.describe_topics()}
        gone = [name for name in inner if name in there]
        copies = [len(part["replica_nodes"]) for name in gone for part in there[name]["partitions"]]
        if gone:
            self._admin.delete_topics(gone)
        until = time.monotonic() + _TIMEOUT_MS / 1000
        while any(one["name"] in inner for one in self._admin.describe_topics()):
            if time.monotonic() > until:
                raise AmlError(f"Kafka at {self._settings.brokers} does not remove {', '.join(gone)}: look at its log")
            time.sleep(_LOOK_AGAIN_S)
        self.apply(shards, max(copies, default=-1))

    def _held(self) -> dict[str, Held]:
        from kafka.admin import ConfigResource, ConfigResourceType

        there = {one["name"]: one for one in self._admin.describe_topics()}
        names = [name for contract in self._contracts if (name := self.name(contract)) in there]
        if not names:
            return {}
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        configs = self._admin.describe_configs(asked, config_filter="all")
        (by_name,) = configs.values()
        return {
            name: Held(
                len(there[name]["partitions"]),
                {key: str(value["value"]) for key, value in by_name[name].items()},
            )
            for name in names
        }

    def _wait(self) -> None:
        until = time.monotonic() + _TIMEOUT_MS / 1000
        while waiting := self._not_yet():
            if time.monotonic() > until:
                raise AmlError(
                    f"Kafka at {self._settings.brokers} took {waiting[0]} and does not show it: look at the "
                    "controller's log, then `aml topics apply` again"
                )
            time.sleep(_LOOK_AGAIN_S)

    def _not_yet(self) -> list[str]:
        held = self._held()
        names = {self.name(contract): contract for contract in self._contracts}
        return [name for name, c in names.items() if name not in held or c.lacking(held[name].configs)]

    def _make(self, name: str, partitions: int, replication: int, contract: Contract) -> None:
        from kafka.admin import NewTopic

        self._admin.create_topics([NewTopic(name, partitions, replication, topic_configs=contract.configs)])

    def _set(self, name: str, configs: dict[str, str]) -> None:
        from kafka.admin import ConfigResource, ConfigResourceType

        self._admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=configs)])


@contextmanager
def administering(settings: StreamSettings, contracts: Sequence[Contract]) -> Iterator[Topics]:
    """The topics, for the time of a command. Raises AmlError where the brokers do not answer or refuse."""
    try:
        from kafka.admin import KafkaAdminClient
        from kafka.errors import KafkaError
    except ImportError as error:
        raise AmlError("kafka-python is not installed: pip install 'aml-monitor[stream]'") from error
    knock(settings)
    try:
        options = {**common_settings(settings.connection), "bootstrap_timeout_ms": _TIMEOUT_MS}
        admin = KafkaAdminClient(**{k: v for k, v in options.items() if k != "allow_auto_create_topics"})
        try:
            yield Topics(settings, contracts, admin)
        finally:
            admin.close()
    except KafkaError as error:
        told = f"{type(error).__name__} {error}".strip()[:300]
        raise unreachable(settings.brokers, told) from error
