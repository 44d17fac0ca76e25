"""A shard that is lost leaves nothing behind."""

from __future__ import annotations

import gc
import weakref

from aml.pipeline.inforce import Judgement
from aml.pipeline.watermark import LATENESS
from aml.stream.shard import Shard, ShardTerms
from tests.naive.fast import compiled, scoring


def test_its_memory_goes_at_once_and_does_not_wait_for_a_search_for_garbage(tmp_path):
    gc.disable()
    try:
        shard = Shard(ShardTerms(0, 2, Judgement(compiled("us"), scoring(), None, ()), LATENESS, tmp_path))
        engine = weakref.ref(shard.core.engine)
        del shard
        assert engine() is None
    finally:
        gc.enable()
