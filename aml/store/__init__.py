"""The database: findings, evidence, alerts with their history, dead letters, runs and checkpoints."""
