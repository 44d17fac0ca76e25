"""Shards among workers: all are given, evenly, and nobody loses one that he need not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aml.stream.sharing import share

SHARDS = 12
members = st.dictionaries(
    st.sampled_from("abcdefghijklmno"), st.sets(st.integers(0, SHARDS + 2)), min_size=1, max_size=15
)


@given(members)
def test_every_shard_has_one_member_and_nobody_has_two_more_than_another(owned):
    shared = share(owned, SHARDS)
    assert sorted(shard for mine in shared.values() for shard in mine) == list(range(SHARDS))
    sizes = [len(mine) for mine in shared.values()]
    assert max(sizes) - min(sizes) <= 1
    assert all(mine == sorted(mine) for mine in shared.values())


@given(members)
def test_the_same_members_again_change_nothing(owned):
    first = share(owned, SHARDS)
    assert share(first, SHARDS) == first


@given(members, st.sampled_from("xyz"))
def test_who_comes_takes_no_more_than_a_fair_share_from_the_others(owned, new):
    before = share(owned, SHARDS)
    after = share({**before, new: []}, SHARDS)
    moved = sum(len(set(before[member]) - set(after[member])) for member in before)
    assert moved == len(after[new])


@given(members)
def test_who_goes_leaves_the_others_what_they_have(owned):
    before = share(owned, SHARDS)
    if len(before) > 1:
        gone = min(before)
        left = {member: mine for member, mine in before.items() if member != gone}
        after = share(left, SHARDS)
        assert all(set(left[member]) <= set(after[member]) for member in left)
