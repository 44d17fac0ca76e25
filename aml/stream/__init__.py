"""The streaming host: a bank's topic through intake and shards into the database, exactly once."""
