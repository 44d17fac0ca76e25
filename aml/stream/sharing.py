"""Which worker of a group has which shards: as even as can be, and nobody gives away what he need not.

Both inputs of a shard go to the same worker, whatever the number of workers: partitions are given by their number, not
by topic (round robin, Kafka's and Faust's default, would part them).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


def share(owned: Mapping[str, Collection[int]], shards: int) -> dict[str, list[int]]:
    """The shards of each member, rising. owned: what each had until now, as it says itself.

    A function of its arguments alone, so that every leader decides alike.
    """
    members = sorted(owned)
    least, more = divmod(shards, len(members))
    free = set(range(shards))
    shared: dict[str, list[int]] = {member: [] for member in members}
    # Who has most keeps one more than the others, where they do not divide evenly.
    for place, member in enumerate(sorted(members, key=lambda one: (-len(set(owned[one])), one))):
        kept = sorted(free & set(owned[member]))[: least + (place < more)]
        shared[member] = kept
        free -= set(kept)
    for shard in sorted(free):
        member = min(members, key=lambda one: (len(shared[one]), one))
        shared[member] = sorted([*shared[member], shard])
    return shared
