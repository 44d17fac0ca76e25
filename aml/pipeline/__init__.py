"""The hosts of the engine: what runs it, from the feed to the database."""
